"""Attention weights, and what they weigh."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from small_decoders import BATCH, POSITIONS, WIDTH, make_decoder, make_features

from imcap.decoders.attention import attend
from imcap.decoders.base import NO_DROPOUT
from imcap.text import START


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_attention_is_the_softmax_of_scaled_dot_products(heads):
    rng = np.random.default_rng(heads)
    query, values = rng.normal(size=(BATCH, WIDTH, 8)), rng.normal(size=(BATCH, POSITIONS, 8))
    answers, weights = [], []
    for part in np.split(np.arange(8), heads):
        scores = query[..., part] @ values[..., part].swapaxes(1, 2) / np.sqrt(len(part))
        softmax = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
        answers.append(softmax @ values[..., part])
        weights.append(softmax)
    answer, weight = attend(tf.constant(query), tf.constant(values), heads)
    np.testing.assert_allclose(answer, np.concatenate(answers, axis=-1), atol=1e-6)
    np.testing.assert_allclose(weight, np.mean(weights, axis=0), atol=1e-6)


@pytest.mark.parametrize("heads", [1, 4])
def test_a_step_returns_its_attention_weights(heads):
    decoder, features = make_decoder("attention", heads=heads), make_features()
    memory, carry = decoder.start(features, WIDTH, NO_DROPOUT)
    _, carry = decoder.step(tf.fill([BATCH, WIDTH], START), memory, carry)
    attention = carry["attention"].numpy()
    assert attention.shape == (BATCH, WIDTH, POSITIONS)
    np.testing.assert_allclose(attention.sum(-1), 1, atol=1e-6)
    assert attention.std(axis=-1).min() > 1e-3
