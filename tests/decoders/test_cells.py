"""One step of an LSTM and of attention."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_decoders import BATCH, POSITIONS, WIDTH

from imcap.decoders.cells import (
    attend,
    backward_context,
    backward_softmax,
    backward_update,
    join_heads,
    split_heads,
    update,
)


def test_lstm_equals_keras_with_a_forget_bias_of_one():
    rng = np.random.default_rng(0)
    inputs, hidden, cell = (rng.normal(size=(4, 8)).astype(np.float32) for _ in range(3))
    layer = keras.layers.LSTMCell(8, unit_forget_bias=True)
    layer.build((4, 8))
    expected, (_, expected_cell) = layer(inputs, [hidden, cell])
    sums = inputs @ layer.kernel.numpy() + hidden @ layer.recurrent_kernel.numpy()
    found, found_cell = update(tf.constant(sums), tf.constant(cell))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(found_cell, expected_cell, atol=1e-6)


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
    query, values = (split_heads(tf.constant(x), heads) for x in (query, values))
    answer, weight = attend(query, values, values)
    np.testing.assert_allclose(join_heads(answer), np.concatenate(answers, axis=-1), atol=1e-6)
    np.testing.assert_allclose(weight, np.stack(weights, axis=1), atol=1e-6)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("bfloat16", 0.1)])
def test_written_out_gradients_equal_automatic_ones_in_both_dtypes(dtype, tolerance):
    """In bfloat16 they are compiled with XLA."""

    def make(seed: int, *shape: int) -> tf.Tensor:
        return tf.cast(tf.random.stateless_normal(shape, [seed, 0]), dtype)

    upstream, part, cell, previous, d_cell = (make(n, 4, 8) for n in range(5))
    sums, weights, d_weights = (
        make(5, 4, 32),
        tf.nn.softmax(make(6, 2, 2, 3, 5)),
        make(7, 2, 2, 3, 5),
    )
    scores = tf.math.log(weights) / tf.cast(4**-0.5, dtype)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([sums, previous, scores, part, cell])
        found = update(sums, previous)
        total = tf.reduce_sum(found[0] * (upstream + part)) + tf.reduce_sum(found[1] * d_cell)
        softmax = tf.nn.softmax(scores * tf.cast(4**-0.5, dtype))
        gated = part * tf.sigmoid(cell)
    expected = [
        *tape.gradient(total, [sums, previous]),
        tape.gradient(softmax, scores, d_weights),
        *tape.gradient(gated, [part, cell], upstream + d_cell),
    ]
    written_out = [
        *backward_update(upstream, part, sums, found[1], previous, d_cell),
        backward_softmax(d_weights, weights, 4),
        *backward_context(upstream, d_cell, cell, part),
    ]
    for one, other in zip(written_out, expected, strict=True):
        assert one.dtype == dtype
        np.testing.assert_allclose(
            tf.cast(one, tf.float32), tf.cast(other, tf.float32), atol=tolerance
        )
