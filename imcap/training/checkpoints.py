"""Checkpoints of a run: the last state of the training, and the best weights by dev score."""

from __future__ import annotations

import dataclasses
import json
import os

import tensorflow as tf
from ml_collections import ConfigDict

from imcap import config as config_lib
from imcap import decoders, records
from imcap.decoders.base import Decoder
from imcap.errors import UserError, one_line
from imcap.training.steps import TrainState

FOLDER = config_lib.CHECKPOINTS
LAST, BEST = "last", "best"
_METADATA_KEY = "metadata/.ATTRIBUTES/VARIABLE_VALUE"
_ERRORS = (ValueError, AssertionError, IndexError, RuntimeError, tf.errors.OpError)


@dataclasses.dataclass(frozen=True)
class Metadata:
    """What a checkpoint says of the run it belongs to.

    Attributes:
      vocabulary_digest: info.json's; with another vocabulary the weights mean other words.
      compute_dtype: of the training's matrix products.
    """

    vocabulary_digest: str
    compute_dtype: str


class Checkpoints:
    """Writes and restores a training's checkpoints, `WORKDIR/checkpoints/{last,best}/`."""

    def __init__(
        self, workdir: str, state: TrainState, metadata: Metadata, *, write: bool = True
    ) -> None:
        """Nothing is read or written yet; `write`: whether this process writes at all."""
        self._metadata, self._write = json.dumps(dataclasses.asdict(metadata)), write
        with tf.device("CPU:0"):  # A GPU holds no strings.
            self._variable = tf.Variable(self._metadata, trainable=False, name="metadata")
        common = {
            "decoder": _by_name(state.decoder),
            "metadata": self._variable,
            "step": state.step,
        }
        self._step = state.step
        self._last = _manager(
            workdir, LAST, **common, optimizer=state.optimizer, sums=state.sums
        )  # fmt: skip
        self._best = _manager(workdir, BEST, **common)

    def restore(self) -> int:
        """Restores the last checkpoint if there is one; returns the steps taken.

        Raises:
          UserError: the checkpoint is corrupted or of another model.
        """
        path = self._last.latest_checkpoint
        if path:
            try:
                self._last.checkpoint.restore(path).assert_existing_objects_matched()
            except _ERRORS as error:
                raise _refused(path, error) from error
            self._variable.assign(self._metadata)
        return int(self._step.numpy())

    def save_last(self) -> None:
        """Writes the whole state; the previous last checkpoint is removed afterwards."""
        self._save(self._last)

    def save_best(self) -> None:
        """Writes the weights; the previous best checkpoint is removed afterwards."""
        self._save(self._best)

    def _save(self, manager: tf.train.CheckpointManager) -> None:
        if self._write:
            manager.save(checkpoint_number=int(self._step.numpy()))


def find(workdir: str, *names: str) -> str:
    """Returns the newest checkpoint of the first of `names` that has one, or an empty string."""
    for name in names:
        path = tf.train.latest_checkpoint(os.path.join(workdir, FOLDER, name))
        if path:
            return path
    return ""


def read_metadata(path: str, vocabulary_digest: str) -> Metadata:
    """Returns a checkpoint's metadata.

    Args:
      path: of the checkpoint.
      vocabulary_digest: of the records, which the checkpoint has to be of.

    Raises:
      UserError: it is corrupted, of another vocabulary, or of imcap 0.1.0, which stored no
        vocabulary digest.
    """
    try:
        reader = tf.train.load_checkpoint(path)
        if not reader.has_tensor(_METADATA_KEY):
            raise UserError(
                f"{path} was written by imcap 0.1.0, which stored no vocabulary digest: "
                "choose another --workdir or remove its checkpoints"
            )
        metadata = Metadata(**json.loads(reader.get_tensor(_METADATA_KEY)))
    except UserError:
        raise
    except (*_ERRORS, TypeError) as error:
        raise UserError(f"{path} is corrupted ({one_line(error)}): remove it") from error
    if metadata.vocabulary_digest != vocabulary_digest:
        raise UserError(
            f"{path} was trained with another vocabulary ({metadata.vocabulary_digest[:12]}) than "
            f"the records' ({vocabulary_digest[:12]}): choose another --workdir or remove its "
            "checkpoints"
        )
    return metadata


def load_decoder(model: ConfigDict, workdir: str, info: records.Info) -> Decoder:
    """Returns the trained decoder: the best by dev score, or the last if none was scored.

    Args:
      model: a config's `model` part.
      workdir: the run's folder.
      info: of the records that it was trained on.

    Raises:
      UserError: nothing was trained, or with another model or vocabulary.
    """
    path = find(workdir, BEST, LAST)
    if not path:
        raise UserError(f"{os.path.join(workdir, FOLDER)} holds no checkpoint: run `imcap train`")
    read_metadata(path, info.vocabulary_digest)
    decoder = decoders.build(model, info.text["vocabulary_size"], info.feature_shape[1])
    try:
        status = tf.train.Checkpoint(decoder=_by_name(decoder)).restore(path)
        status.assert_existing_objects_matched().expect_partial()
    except _ERRORS as error:
        raise _refused(path, error) from error
    return decoder


def _manager(workdir: str, name: str, **parts: tf.Variable) -> tf.train.CheckpointManager:
    return tf.train.CheckpointManager(
        tf.train.Checkpoint(**parts),
        os.path.join(workdir, FOLDER, name),
        max_to_keep=1,
        checkpoint_name=name,
    )


def _refused(path: str, error: Exception) -> UserError:
    message = str(error).splitlines()[0]
    return UserError(
        f"{path} does not fit config.model and the records ({message}): choose another --workdir "
        "or remove its checkpoints"
    )


def _by_name(decoder: Decoder) -> tf.Module:
    """Names weights by their own names: a checkpoint does not depend on their order."""
    module = tf.Module()
    for weight in decoder.weights:
        setattr(module, weight.name, weight.value)
    return module
