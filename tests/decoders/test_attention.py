"""Attention weights, and what they weigh."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from small_decoders import BATCH, POSITIONS, WIDTH, make_decoder, make_features

from imcap.decoders.attention import normalize
from imcap.decoders.base import NO_DROPOUT
from imcap.text import START


@pytest.mark.parametrize("heads", [1, 4])
def test_a_step_returns_its_attention_weights(heads):
    decoder, features = make_decoder("attention", heads=heads), make_features()
    memory, carry = decoder.start(features, WIDTH, NO_DROPOUT)
    _, carry = decoder.step(tf.fill([BATCH, WIDTH], START), memory, carry)
    attention = carry["attention"].numpy()
    assert attention.shape == (BATCH, WIDTH, POSITIONS)
    np.testing.assert_allclose(attention.sum(-1), 1, atol=1e-6)
    assert attention.std(axis=-1).min() > 1e-3


def test_normalized_features_have_mean_0_and_variance_1_at_each_position():
    features = tf.random.stateless_uniform([3, 4, 200], [1, 2], 0, 50)
    found = normalize(features).numpy()
    np.testing.assert_allclose(found.mean(axis=-1), 0, atol=1e-5)
    np.testing.assert_allclose(found.std(axis=-1), 1, atol=1e-4)
    np.testing.assert_allclose(normalize(4 * features), found, atol=0.02)
    assert np.isfinite(normalize(tf.zeros([1, 4, 8]))).all()
    assert normalize(tf.cast(features, "bfloat16")).dtype == tf.bfloat16


def test_normalized_features_have_a_gradient_where_a_relu_is_zero():
    features = tf.constant([[[0.0, 1e-9, 1.0, 4.0]]])
    with tf.GradientTape() as tape:
        tape.watch(features)
        loss = tf.reduce_sum(normalize(tf.nn.relu(features)) ** 3)
    assert np.abs(tape.gradient(loss, features)).max() < 100


def test_separate_keys_decide_where_the_decoder_attends_and_values_what_it_gets():
    decoder, features = make_decoder("attention", separate_keys=True), make_features()
    memory, _ = decoder.start(features, WIDTH, NO_DROPOUT)
    weights = {weight.name: weight.numpy() for weight in decoder.weights}
    expected = memory["values"][:, 0].numpy() @ weights["key_kernel"]
    np.testing.assert_allclose(memory["keys"][:, 0], expected, atol=1e-5)
