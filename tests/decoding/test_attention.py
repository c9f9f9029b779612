"""Attention weights for each token of given captions."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from imcap import config as config_lib
from imcap import decoders
from imcap.decoders import DECODERS
from imcap.decoders.base import NO_DROPOUT, Decoder
from imcap.decoding import attention
from imcap.text import END, PAD, START

CHANNELS, POSITIONS, VOCABULARY = 4, 3, 9


def make_decoder(kind: str, layers: int = 1) -> Decoder:
    config = config_lib.model_defaults()
    config.update(decoder=kind, units=8, embedding_size=6, layers=layers)
    return decoders.build(config, VOCABULARY, CHANNELS)


@pytest.fixture(scope="module")
def features() -> tf.Tensor:
    values = np.random.default_rng(0).normal(0, 2, (2, POSITIONS, CHANNELS))
    return tf.constant(values, tf.float32)


@pytest.mark.parametrize("kind", DECODERS)
def test_a_decoder_tells_whether_it_has_attention(kind):
    assert attention.has_attention(make_decoder(kind), (4, CHANNELS)) == (kind == "attention")


@pytest.mark.parametrize("layers", [1, 2])
def test_weights_are_those_of_the_decoder_s_steps(features, layers):
    decoder = make_decoder("attention", layers)
    tokens = tf.constant([[5, 6, 7, END], [8, END, PAD, PAD]])
    found = tf.function(attention.attention_weights, autograph=False)(
        decoder, features, tokens
    ).numpy()
    assert found.shape == (2, 4, POSITIONS) and found.dtype == np.float32
    memory, carry = decoder.start(features, 1, NO_DROPOUT)
    for time, previous in enumerate([[START, START], [5, 8], [6, END], [7, PAD]]):
        _, carry = decoder.step(tf.constant(previous)[:, tf.newaxis], memory, carry)
        np.testing.assert_allclose(found[0, time], carry["attention"][0, 0], atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=2), [[1, 1, 1, 1], [1, 1, 0, 0]], atol=1e-6)
