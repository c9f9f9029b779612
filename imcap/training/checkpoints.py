"""Weights on disk: the last state of a training, and its best one."""

from __future__ import annotations

import os

import tensorflow as tf
from ml_collections import ConfigDict

from imcap import decoders, records
from imcap.decoders.base import Decoder
from imcap.errors import UserError

FOLDER = "checkpoints"


def manager(
    workdir: str, decoder: Decoder, name: str, **state: tf.Variable
) -> tf.train.CheckpointManager:
    """Returns what saves and restores a decoder with its training's state.

    Args:
      workdir: the run's folder; files go to `checkpoints/{name}-STEP`.
      decoder: its weights are named by their paths.
      name: `last` or `best`.
      state: further variables and trackables by name.
    """
    checkpoint = tf.train.Checkpoint(decoder=_by_name(decoder), **state)
    return tf.train.CheckpointManager(
        checkpoint, os.path.join(workdir, FOLDER, name), max_to_keep=1, checkpoint_name=name
    )


def load_decoder(config: ConfigDict, workdir: str, info: records.Info) -> Decoder:
    """Returns the trained decoder: the best by dev score, or the last where none was scored.

    Raises:
      UserError: nothing was trained, or with other settings of the model or the vocabulary.
    """
    vocab_size = info.text["vocabulary_size"]
    decoder = decoders.build(config.model, vocab_size, info.feature_shape[1])
    for name in ("best", "last"):
        path = tf.train.latest_checkpoint(os.path.join(workdir, FOLDER, name))
        if path:
            _restore(decoder, path)
            return decoder
    raise UserError(f"{os.path.join(workdir, FOLDER)} holds no checkpoint: run `imcap train`")


def _restore(decoder: Decoder, path: str) -> None:
    checkpoint = tf.train.Checkpoint(decoder=_by_name(decoder))
    try:
        status = checkpoint.restore(path)
        status.assert_existing_objects_matched().expect_partial()
    except (ValueError, AssertionError, IndexError, tf.errors.OpError) as error:
        message = str(error).splitlines()[0]
        raise UserError(
            f"{path} does not fit config.model and the records' vocabulary: {message}"
        ) from error


def _by_name(decoder: Decoder) -> tf.Module:
    """Names weights by their own names: a checkpoint does not depend on their order."""
    module = tf.Module()
    for weight in decoder.weights:
        setattr(module, weight.name, weight.value)
    return module
