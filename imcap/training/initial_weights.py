"""The weights that a run starts from where `train.from_checkpoint` names another run's."""

from __future__ import annotations

import os

import tensorflow as tf
from absl import logging
from ml_collections import ConfigDict

from imcap import config as config_lib
from imcap import records
from imcap.config import checks
from imcap.decoders.base import Decoder
from imcap.decoders.tuned import TunedDecoder
from imcap.errors import UserError
from imcap.training import checkpoints, epoch_checkpoints

_ADVICE = "give another --config.train.from_checkpoint"
# Settings of the encoder that decide what its features mean.
_ENCODER = ("name", "layer", "pooling", "tune_from", "image_size")
# Settings of the model that only training reads.
_FREE = (
    "model.dropout",
    "model.embedding_dropout",
    "model.feature_dropout",
    "model.word_vectors",
    "model.train_word_vectors",
)


def load(config: ConfigDict, decoder: Decoder, info: records.Info) -> None:
    """Gives a decoder the weights that `config.train.from_checkpoint` names, if it names any.

    Args:
      config: resolved.
      decoder: of the new run; optimizer and steps are not taken from the checkpoint.
      info: of the records that the new run trains on.

    Raises:
      UserError: there is no checkpoint, it is corrupted, or it is of another vocabulary, model or
        encoder.
    """
    source = config.train.from_checkpoint
    if not source:
        return
    path = find(source)
    _check_config(config, path)
    names = _weight_names(path)
    if isinstance(decoder, TunedDecoder) and names <= decoder.decoder.weights_by_name().keys():
        decoder = decoder.decoder  # The checkpoint is of a run in which the encoder was frozen.
    if others := names - decoder.weights_by_name().keys():
        raise UserError(f"{path} does not fit config.model: it also holds {min(others)}: {_ADVICE}")
    checkpoints.restore_weights(path, decoder, info.vocabulary_digest, _ADVICE)
    logging.info("starts from the weights of %s", path)


def _weight_names(path: str) -> set[str]:
    """Returns the names that a checkpoint has for its weights; none where it is corrupted."""
    try:
        keys = tf.train.load_checkpoint(path).get_variable_to_shape_map()
    except (ValueError, RuntimeError, tf.errors.OpError):
        return set()  # Restoring it says what is wrong with it.
    return {key.split("/")[1] for key in keys if key.startswith("decoder/")}


def find(source: str) -> str:
    """Returns the path of a checkpoint's files, without their extensions.

    Args:
      source: a run's folder, whose best weights are taken (the last ones if none were scored), or
        the folder of one of its checkpoints, such as `RUN/checkpoints/epoch-7`.

    Raises:
      UserError: there is no checkpoint.
    """
    if os.path.isdir(os.path.join(source, checkpoints.FOLDER)):
        return checkpoints.choose(source).path
    path = tf.train.latest_checkpoint(source) or epoch_checkpoints.path_in(source)
    if not os.path.exists(f"{path}.index"):
        raise UserError(
            f"config.train.from_checkpoint={source!r} is neither a run's folder with checkpoints "
            f"nor a checkpoint's folder: {_ADVICE}"
        )
    return path


def _check_config(config: ConfigDict, path: str) -> None:
    """Refuses weights of another model or encoder, of which not all have other shapes.

    The run's config says what they are of; where it is not there, only the shapes are compared.
    """
    workdir = os.path.abspath(os.path.join(os.path.dirname(path), os.pardir, os.pardir))
    before = config_lib.read(workdir)
    if before is None:
        return
    parts = _parts(config_lib.resolve(before, workdir)), _parts(config)
    # Layers that were frozen may be tuned from now on.
    free = _FREE if before.encoder.tune_from else (*_FREE, "encoder.tune_from")
    if difference := checks.first_difference(*parts, free):
        key, old, new = difference
        raise UserError(f"{path} was trained with {key}={old!r}, now {new!r}: {_ADVICE}")


def _parts(config: ConfigDict) -> ConfigDict:
    """Returns the settings on which the weights' meaning depends."""
    encoder = {key: config.encoder[key] for key in _ENCODER}
    return ConfigDict({"model": config.model.to_dict(), "encoder": encoder})
