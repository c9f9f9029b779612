"""LSTM layers against those of Keras."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_decoders import BATCH, LENGTH, WIDTH, make_decoder

from imcap.decoders.base import NO_DROPOUT, Dropout, State
from imcap.decoders.lstm import LstmLayers
from imcap.decoders.packing import Packing

ALL_TOKENS = tf.ones([BATCH, WIDTH, LENGTH], tf.int32)  # No sequence ends early.


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


def unrolled(
    layers: LstmLayers, inputs: tf.Tensor, carry: State, dropout: Dropout = NO_DROPOUT
) -> tf.Tensor:
    packing = Packing(ALL_TOKENS)
    return packing.unpack(layers.unroll(packing, packing.pack(inputs), carry, dropout))


@pytest.mark.parametrize("number", [1, 3])
def test_layers_equal_those_of_keras_unrolled_and_stepped(number):
    layers, peer = make_layers(number)
    inputs = make_inputs()
    expected = peer(tf.reshape(inputs, (-1, LENGTH, 6))).numpy().reshape(BATCH, WIDTH, LENGTH, 8)
    carry = layers.zeros([BATCH, WIDTH], tf.float32)
    assert len(carry) == 2 * number
    np.testing.assert_allclose(unrolled(layers, inputs, carry), expected, atol=1e-5)
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

    found = gradients(tf.function(lambda: unrolled(layers, inputs, carry), autograph=False))
    expected = gradients(stepped)
    assert len(found) == 6 + 1 + 4
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_dropout_is_between_layers_only():
    inputs, dropout = make_inputs(), Dropout(tf.constant([1, 2]))

    def difference(number: int) -> float:
        layers, _ = make_layers(number)
        carry = layers.zeros([BATCH, WIDTH], tf.float32)
        exact = unrolled(layers, inputs, carry)
        dropped = unrolled(layers, inputs, carry, dropout)
        return float(tf.reduce_max(tf.abs(dropped - exact)))

    assert difference(1) == 0
    assert difference(2) > 0.05


def test_without_a_layer_the_inputs_are_the_outputs():
    layers = LstmLayers(make_decoder("language_model"), first=2)
    assert layers.zeros([BATCH], tf.float32) == {}
    inputs = make_inputs(8)
    assert layers.unroll(Packing(ALL_TOKENS), inputs, {}, NO_DROPOUT) is inputs
    assert layers.step(inputs[:, :, 0], {})[1] == {}
