"""Checkpoints of decoders that nothing has trained, written as a training writes them."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from imcap import decoders, records
from imcap.decoders.base import Decoder
from imcap.training import checkpoints
from imcap.training.steps import TrainState


def make_decoder(config: ConfigDict, info: records.Info, seed: int) -> Decoder:
    """A decoder as a config says, with random weights."""
    decoder = decoders.build(config.model, info.text["vocabulary_size"], info.feature_shape[1])
    rng = np.random.default_rng(seed)
    for weight in decoder.weights:
        weight.assign(rng.normal(size=weight.shape))
    return decoder


def make_checkpoints(
    workdir: Path, decoder: Decoder, info: records.Info, step: int, keep: str = ""
) -> checkpoints.Checkpoints:
    """What saves a decoder after so many steps."""
    optimizer = keras.optimizers.SGD()
    optimizer.build(decoder.trainable_variables)
    counter = tf.Variable(step, dtype=tf.int64)
    state = TrainState(decoder, optimizer, counter, tf.Variable(tf.zeros([3])))
    metadata = checkpoints.Metadata(info.vocabulary_digest, "float32")
    return checkpoints.Checkpoints(str(workdir), state, metadata, keep=keep)
