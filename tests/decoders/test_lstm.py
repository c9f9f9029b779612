"""LSTM layers against those of Keras."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_decoders import BATCH, LENGTH, WIDTH, make_decoder

from imcap.decoders.base import NO_DROPOUT, Dropout
from imcap.decoders.lstm import LstmLayers, update


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


def make_layers(number: int) -> tuple[LstmLayers, keras.layers.Layer]:
    """LSTM layers with random weights, and Keras' with the same."""
    decoder = make_decoder("language_model", layers=number)
    weights = {weight.name: weight.numpy() for weight in decoder.weights}
    cells = [keras.layers.LSTMCell(8) for _ in range(number)]
    peer = keras.layers.RNN(keras.layers.StackedRNNCells(cells), return_sequences=True)
    peer.build((None, None, 6))
    forget_bias = np.repeat([0.0, 1.0, 0.0, 0.0], 8)
    for suffix, cell in zip(["", "_2", "_3"], cells, strict=False):
        cell.kernel.assign(weights[f"word_kernel{suffix}"])
        cell.recurrent_kernel.assign(weights[f"recurrent_kernel{suffix}"])
        cell.bias.assign(weights[f"lstm_bias{suffix}"] + forget_bias)
    return decoder.lstm, peer


def make_inputs(columns: int = 6) -> tf.Tensor:
    rng = np.random.default_rng(2)
    return tf.constant(rng.normal(size=(BATCH, WIDTH, LENGTH, columns)), tf.float32)


@pytest.mark.parametrize("number", [1, 3])
def test_layers_equal_those_of_keras_unrolled_and_stepped(number):
    layers, peer = make_layers(number)
    inputs = make_inputs()
    expected = peer(tf.reshape(inputs, (-1, LENGTH, 6))).numpy().reshape(BATCH, WIDTH, LENGTH, 8)
    carry = layers.zeros([BATCH, WIDTH], tf.float32)
    assert len(carry) == 2 * number
    np.testing.assert_allclose(layers.unroll(inputs, carry, NO_DROPOUT), expected, atol=1e-5)
    for time in range(LENGTH):
        hidden, carry = layers.step(inputs[:, :, time], carry)
        np.testing.assert_allclose(hidden, expected[:, :, time], atol=1e-5)


def test_gradients_of_unrolled_layers_equal_those_of_steps():
    decoder, inputs = make_decoder("language_model", layers=2), make_inputs()
    layers, parts = decoder.lstm, ("word_kernel", "recurrent_kernel", "lstm_bias")
    weights = [weight.value for weight in decoder.weights if weight.name.startswith(parts)]
    rng = np.random.default_rng(3)
    carry = {
        key: tf.constant(rng.normal(size=state.shape), tf.float32)
        for key, state in layers.zeros([BATCH, WIDTH], tf.float32).items()
    }
    upstream = tf.constant(rng.normal(size=(BATCH, WIDTH, LENGTH, 8)), tf.float32)

    def gradients(unroll: Callable[[], tf.Tensor]) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch([inputs, carry])
            loss = tf.reduce_sum(unroll() * upstream)
        found = tape.gradient(loss, [*weights, inputs, *carry.values()])
        return [tf.convert_to_tensor(gradient) for gradient in found]

    def stepped() -> tf.Tensor:
        state, states = carry, []
        for time in range(LENGTH):
            hidden, state = layers.step(inputs[:, :, time], state)
            states.append(hidden)
        return tf.stack(states, axis=2)

    found = gradients(tf.function(lambda: layers.unroll(inputs, carry, NO_DROPOUT)))
    expected = gradients(stepped)
    assert len(found) == 6 + 1 + 4
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_dropout_is_between_layers_only():
    inputs, dropout = make_inputs(), Dropout(tf.constant([1, 2]))

    def difference(number: int) -> float:
        layers, _ = make_layers(number)
        carry = layers.zeros([BATCH, WIDTH], tf.float32)
        exact = layers.unroll(inputs, carry, NO_DROPOUT)
        return float(tf.reduce_max(tf.abs(layers.unroll(inputs, carry, dropout) - exact)))

    assert difference(1) == 0
    assert difference(2) > 0.05


def test_without_a_layer_the_inputs_are_the_outputs():
    layers = LstmLayers(make_decoder("language_model"), first=2)
    assert layers.zeros([BATCH], tf.float32) == {}
    inputs = make_inputs(8)
    assert layers.unroll(inputs, {}, NO_DROPOUT) is inputs
    assert layers.step(inputs[:, :, 0], {})[1] == {}
