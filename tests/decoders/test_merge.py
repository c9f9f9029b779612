"""The merge decoder against the formula, and where its image enters."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from small_decoders import LENGTH, WIDTH, make_decoder, make_features, make_tokens

from imcap.decoders.base import NO_DROPOUT


def test_output_vectors_are_relu_of_the_projected_sum_of_text_and_image():
    decoder, features, tokens = make_decoder("merge"), make_features(), make_tokens()
    weights = {weight.name: weight.numpy() for weight in decoder.weights}
    words = tf.constant(weights["embedding"][tokens])
    carry = decoder.lstm.zeros(tokens.shape[:2], tf.float32)
    states = []
    for time in range(LENGTH):
        hidden, carry = decoder.lstm.step(words[:, :, time], carry)
        states.append(hidden)
    text = np.stack(states, axis=2)
    mean = features.numpy().mean(axis=1)
    image = mean @ weights["projection_kernel"] + weights["projection_bias"]
    merged = text + np.maximum(image, 0)[:, np.newaxis, np.newaxis]
    expected = np.maximum(merged @ weights["output_kernel"] + weights["merge_bias"], 0)
    found = decoder.output_vectors(features, tf.constant(tokens), NO_DROPOUT)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_image_never_enters_the_lstm():
    decoder, tokens = make_decoder("merge", layers=2), make_tokens()

    def last_carry(seed: int) -> dict[str, tf.Tensor]:
        memory, carry = decoder.start(make_features(seed), WIDTH, NO_DROPOUT)
        for time in range(tokens.shape[2]):
            _, carry = decoder.step(tf.constant(tokens[:, :, time]), memory, carry)
        return carry

    one, other = last_carry(0), last_carry(1)
    assert list(one) == ["hidden", "cell", "hidden_2", "cell_2"]
    for key, value in one.items():
        np.testing.assert_array_equal(other[key], value)
