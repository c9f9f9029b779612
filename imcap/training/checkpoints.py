"""Checkpoints of a run: the last state of the training, the best weights by dev score, and the
weights of the epochs that are kept."""

from __future__ import annotations

import dataclasses
import json
import os
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from imcap import config as config_lib
from imcap import records
from imcap.decoders import tuned
from imcap.decoders.base import Decoder
from imcap.errors import UserError, one_line
from imcap.training import epoch_checkpoints
from imcap.training.history import History
from imcap.training.steps import TrainState

FOLDER = config_lib.CHECKPOINTS
LAST, BEST = "last", "best"
_METADATA_KEY, _STEP_KEY = (f"{name}/.ATTRIBUTES/VARIABLE_VALUE" for name in ("metadata", "step"))
_ADVICE = "choose another --workdir or remove its checkpoints"
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


class Chosen(NamedTuple):
    """A checkpoint that was asked for.

    Attributes:
      name: of its folder: `best`, `last`, or such as `epoch-7`.
      path: of its files, without their extensions.
    """

    name: str
    path: str


class Checkpoints:
    """Writes and restores a training's checkpoints, `WORKDIR/checkpoints/{last,best,epoch-*}/`."""

    def __init__(
        self,
        workdir: str,
        state: TrainState,
        metadata: Metadata,
        *,
        keep: str = "",
        write: bool = True,
    ) -> None:
        """Nothing is read or written yet.

        Args:
          workdir: the run's folder.
          state: of the training.
          metadata: goes into every checkpoint.
          keep: `train.keep_checkpoints`.
          write: whether this process writes at all.
        """
        self._metadata, self._write = json.dumps(dataclasses.asdict(metadata)), write
        with tf.device("CPU:0"):  # A GPU holds no strings.
            self._variable = tf.Variable(self._metadata, trainable=False, name="metadata")
        common = {
            "decoder": _by_name(state.decoder),
            "metadata": self._variable,
            "step": state.step,
        }
        self._step = state.step
        self._num_bytes = sum(4 * int(np.prod(weight.shape)) for weight in state.decoder.weights)
        self._epochs = epoch_checkpoints.EpochCheckpoints(
            workdir, tf.train.Checkpoint(**common), keep
        )
        scale = {"loss_scale": state.loss_scale} if state.loss_scale else {}
        self._last = _manager(
            workdir, LAST, **common, **scale, optimizer=state.optimizer, sums=state.sums
        )
        self._best = _manager(workdir, BEST, **common)

    def restore(self) -> int:
        """Restores the last checkpoint if there is one; returns the steps taken.

        Raises:
          UserError: the checkpoint is corrupted or of another model.
        """
        path = self._last.latest_checkpoint
        if path:
            try:
                self._last.checkpoint.restore(
                    path
                ).expect_partial().assert_existing_objects_matched()
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

    def save_epoch(self, epoch: int) -> None:
        """Writes the weights, to stay as `keep` says, under the epoch's number."""
        if self._write:
            self._epochs.save(epoch)

    def log_disk_use(self, epochs: int) -> None:
        """Logs how much disk the weights take that a training of so many epochs keeps."""
        self._epochs.log_disk_use(epochs, self._num_bytes)

    def _save(self, manager: tf.train.CheckpointManager) -> None:
        if self._write:
            manager.save(checkpoint_number=int(self._step.numpy()))


def find(workdir: str, name: str) -> str:
    """Returns the newest checkpoint called `name` (BEST or LAST), an empty string without any."""
    return tf.train.latest_checkpoint(os.path.join(workdir, FOLDER, name)) or ""


def choose(workdir: str, wanted: str = BEST) -> Chosen:
    """Returns a checkpoint of a run.

    Args:
      workdir: the run's folder.
      wanted: `best` (by dev score, or the last if none was scored), `last`, or the number of an
        epoch that was kept.

    Raises:
      UserError: there is no such checkpoint; it lists those there are.
    """
    folder, epochs = os.path.join(workdir, FOLDER), epoch_checkpoints.kept(workdir)
    if wanted.isdecimal() and int(wanted) in epochs:
        epoch = int(wanted)
        return Chosen(epoch_checkpoints.name(epoch), epoch_checkpoints.path(workdir, epoch))
    there = [name for name in (BEST, LAST) if find(workdir, name)]
    for name in {BEST: (BEST, LAST), LAST: (LAST,)}.get(wanted, ()):
        if name in there:
            return Chosen(name, find(workdir, name))
    if not there and not epochs:
        raise UserError(f"{folder} holds no checkpoint: run `imcap train`")
    raise UserError(
        f"--checkpoint={wanted}: {folder} holds {', '.join([*there, *map(str, epochs)])} "
        "(`imcap train --keep_checkpoints=all` keeps the weights of every epoch)"
    )


def describe(workdir: str, chosen: Chosen) -> dict[str, str | int]:
    """Returns a checkpoint's name as `checkpoint`, its `step`, and the `epoch` it has completed.

    The epoch is left out where history.csv, which tells the epoch of a step, is not there.

    Raises:
      UserError: the checkpoint is corrupted.
    """
    try:
        step = int(tf.train.load_checkpoint(chosen.path).get_tensor(_STEP_KEY))
    except _ERRORS as error:
        raise _corrupted(chosen.path, error) from error
    _, dash, number = chosen.name.partition("-")
    epoch = int(number) if dash else History(workdir, step).epoch()
    known = {} if epoch is None else {"epoch": epoch}
    return {"checkpoint": chosen.name, **known, "step": step}


def read_metadata(path: str, vocabulary_digest: str, advice: str = _ADVICE) -> Metadata:
    """Returns a checkpoint's metadata.

    Args:
      path: of the checkpoint.
      vocabulary_digest: of the records, which the checkpoint has to be of.
      advice: how to mend it, for the error's message.

    Raises:
      UserError: it is corrupted, of another vocabulary, or of imcap 0.1.0, which stored no
        vocabulary digest.
    """
    try:
        reader = tf.train.load_checkpoint(path)
        if not reader.has_tensor(_METADATA_KEY):
            raise UserError(
                f"{path} was written by imcap 0.1.0, which stored no vocabulary digest: {advice}"
            )
        metadata = Metadata(**json.loads(reader.get_tensor(_METADATA_KEY)))
    except UserError:
        raise
    except (*_ERRORS, TypeError) as error:
        raise _corrupted(path, error) from error
    if metadata.vocabulary_digest != vocabulary_digest:
        raise UserError(
            f"{path} was trained with another vocabulary ({metadata.vocabulary_digest[:12]}) than "
            f"the records' ({vocabulary_digest[:12]}): {advice}"
        )
    return metadata


def load_decoder(
    model: ConfigDict,
    workdir: str,
    info: records.Info,
    chosen: Chosen | None = None,
    encoder: ConfigDict | None = None,
) -> Decoder:
    """Returns the trained decoder, with the encoder's layers that were trained with it.

    Args:
      model: a config's `model` part.
      workdir: the run's folder.
      info: of the records that it was trained on.
      chosen: which weights; None: the best.
      encoder: a config's `encoder` part; needed where it has a `tune_from`.

    Raises:
      UserError: nothing was trained, or with another model or vocabulary.
    """
    decoder = tuned.build_for_weights(model, info, encoder)
    restore_weights((chosen or choose(workdir)).path, decoder, info.vocabulary_digest)
    return decoder


def restore_weights(
    path: str, decoder: Decoder, vocabulary_digest: str, advice: str = _ADVICE
) -> None:
    """Gives a decoder the weights of a checkpoint.

    Args:
      path: of the checkpoint.
      decoder: its weights are replaced.
      vocabulary_digest: of the records, which the checkpoint has to be of.
      advice: how to mend what is wrong, for the error's message.

    Raises:
      UserError: it is corrupted, or of another model or vocabulary.
    """
    read_metadata(path, vocabulary_digest, advice)
    try:
        # `restore` asks for a count of saves, which the weights of an epoch do not have.
        status = tf.train.Checkpoint(decoder=_by_name(decoder)).read(path)
        # First of all: a status that fails the assertion logs what it did not restore.
        status.expect_partial().assert_existing_objects_matched()
    except _ERRORS as error:
        raise _refused(path, error, advice) from error


def _manager(workdir: str, name: str, **parts: tf.Variable) -> tf.train.CheckpointManager:
    return tf.train.CheckpointManager(
        tf.train.Checkpoint(**parts),
        os.path.join(workdir, FOLDER, name),
        max_to_keep=1,
        checkpoint_name=name,
    )


def _corrupted(path: str, error: Exception) -> UserError:
    return UserError(f"{path} is corrupted ({one_line(error)}): remove it")


def _refused(path: str, error: Exception, advice: str = _ADVICE) -> UserError:
    message = str(error).splitlines()[0]
    return UserError(f"{path} does not fit config.model and the records ({message}): {advice}")


def _by_name(decoder: Decoder) -> tf.Module:
    """Names weights by their own names: a checkpoint does not depend on their order."""
    module = tf.Module()
    for name, weight in decoder.weights_by_name().items():
        setattr(module, name, weight.value)
    return module
