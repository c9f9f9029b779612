"""Decoders with a few random weights, and their logits computed in both ways."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from imcap import config as config_lib
from imcap import decoders
from imcap.decoders.base import NO_DROPOUT, Decoder, Dropout
from imcap.text import START

VOCABULARY, CHANNELS, POSITIONS = 13, 5, 6
BATCH, WIDTH, LENGTH = 2, 3, 7


def make_decoder(kind: str, *, compute_dtype: str = "float32", **settings: object) -> Decoder:
    """A small decoder with weights so large that each of them changes the logits."""
    config = config_lib.model_defaults()
    config.update(decoder=kind, units=8, embedding_size=6, **settings)
    decoder = decoders.build(config, VOCABULARY, CHANNELS, compute_dtype=compute_dtype)
    rng = np.random.default_rng(7)
    for weight in decoder.weights:
        weight.assign(rng.normal(0, 0.6, weight.shape))
    return decoder


def make_features(seed: int = 0) -> tf.Tensor:
    """Random features [batch, positions, channels]."""
    rng = np.random.default_rng(seed)
    return tf.constant(rng.normal(0, 1, (BATCH, POSITIONS, CHANNELS)), tf.float32)


def make_tokens(seed: int = 0) -> np.ndarray:
    """Random words after START, int32 [batch, width, length]."""
    tokens = np.random.default_rng(seed).integers(3, VOCABULARY, (BATCH, WIDTH, LENGTH))
    tokens[..., 0] = START
    return tokens.astype(np.int32)


def teacher_forced(
    decoder: Decoder, features: tf.Tensor, tokens: np.ndarray, dropout: Dropout = NO_DROPOUT
) -> np.ndarray:
    """Logits [batch, width, length, vocabulary]."""
    return decoder.logits(decoder.output_vectors(features, tf.constant(tokens), dropout)).numpy()


def stepped(decoder: Decoder, features: tf.Tensor, tokens: np.ndarray) -> np.ndarray:
    """The same logits, one word at a time."""
    memory, carry = decoder.start(features, tokens.shape[1], NO_DROPOUT)
    logits = []
    for time in range(tokens.shape[2]):
        step_logits, carry = decoder.step(tf.constant(tokens[:, :, time]), memory, carry)
        logits.append(step_logits.numpy())
    return np.stack(logits, axis=2)
