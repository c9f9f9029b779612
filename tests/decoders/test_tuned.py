"""A decoder behind upper layers of the encoder."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_decoders import CHANNELS, make_decoder, make_tokens, stepped, teacher_forced

from imcap.decoders.base import NO_DROPOUT
from imcap.decoders.tuned import TunedDecoder
from imcap.encoders.upper_layers import UpperLayers
from imcap.training.objectives import CrossEntropy

GRID, READ = (4, 4), 3


def make_tuned(kind: str = "attention", **options) -> TunedDecoder:
    """A decoder of features with 2x2 positions, which a network makes of 4x4 positions."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input((*GRID, READ))
    x = keras.layers.Conv2D(4, 3, strides=2, padding="same", activation="tanh")(inputs)
    x = keras.layers.Conv2D(CHANNELS, 1, activation="tanh")(x)
    upper = UpperLayers(keras.Model(inputs, x), GRID, **options)
    return TunedDecoder(make_decoder(kind), upper)


def make_features() -> tf.Tensor:
    return tf.random.stateless_normal([2, GRID[0] * GRID[1], READ], [1, 2])


@pytest.mark.parametrize("kind", ["attention", "inject", "merge"])
def test_logits_are_the_decoder_s_of_the_upper_layers_output(kind) -> None:
    tuned, features, tokens = make_tuned(kind), make_features(), make_tokens()
    encoded = tuned.upper_layers(features)
    assert encoded.shape == (2, 4, CHANNELS) and tuned.grid(GRID) == (2, 2)
    expected = teacher_forced(tuned.decoder, encoded, tokens)
    np.testing.assert_allclose(teacher_forced(tuned, features, tokens), expected, rtol=1e-5)
    np.testing.assert_allclose(stepped(tuned, features, tokens), expected, rtol=1e-4, atol=1e-4)


def test_features_are_encoded_once_in_a_graph() -> None:
    tuned, tokens = make_tuned(), tf.constant(make_tokens())

    @tf.function(autograph=False)
    def both(features: tf.Tensor) -> tuple[tf.Tensor, ...]:
        _, carry = tuned.start(features, 3, NO_DROPOUT)
        vectors = tuned.output_vectors(features, tokens, NO_DROPOUT)
        other = tuned.output_vectors(-features, tokens, NO_DROPOUT)
        return (*carry.values(), vectors, other, tuned.encode(features))

    *_, vectors, other, encoded = both(make_features())
    graph = both.get_concrete_function(make_features()).graph
    convolutions = [operation for operation in graph.get_operations() if operation.type == "Conv2D"]
    assert len(convolutions) == 2 * 3  # Of features, of their opposite, and of the last call.
    expected = tuned.output_vectors(make_features(), tokens, NO_DROPOUT)
    np.testing.assert_allclose(vectors, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(encoded, tuned.encode(make_features()), rtol=1e-5)
    assert np.any(vectors != other)


def test_changed_weights_take_effect_in_every_call() -> None:
    tuned, features = make_tuned(), make_features()
    encode = tf.function(tuned.encode, autograph=False)
    before, eager = encode(features), tuned.encode(features)
    np.testing.assert_allclose(before, eager, rtol=1e-5)
    tuned.upper_layers.weights[0].assign(tuned.upper_layers.weights[0] * 2)
    assert np.any(encode(features) != before)
    np.testing.assert_allclose(encode(features), tuned.encode(features), rtol=1e-5)


@pytest.mark.parametrize("kind", ["attention", "inject", "merge"])
def test_the_loss_s_gradients_are_those_of_finite_differences(kind) -> None:
    tuned, features, tokens = make_tuned(kind), make_features(), tf.constant(make_tokens())
    objective = CrossEntropy(tuned)

    @tf.function(autograph=False)
    def loss() -> tf.Tensor:
        losses, _ = objective.token_losses(features, tokens, NO_DROPOUT)
        return tf.reduce_sum(tf.cast(losses, tf.float64))

    assert len(tuned.upper_layers.trainable_weights) == 4
    for weight in tuned.upper_layers.trainable_weights:
        with tf.GradientTape() as tape:
            value = loss()
        gradient = tape.gradient(value, weight.value)
        step = 1e-2 * gradient / tf.norm(gradient)
        weight.assign_add(step)
        above = loss()
        weight.assign_sub(2 * step)
        slope = (above - loss()) / 2e-2
        weight.assign_add(step)
        np.testing.assert_allclose(slope, tf.norm(gradient), rtol=2e-2)


@pytest.mark.parametrize("kind", ["attention", "inject", "merge"])
def test_gradients_in_bfloat16_are_nearly_those_in_float32(kind) -> None:
    found = []
    for dtype in ("float32", "bfloat16"):
        exact, features = make_tuned(kind, compute_dtype=dtype), make_features()
        tuned = TunedDecoder(make_decoder(kind, compute_dtype=dtype), exact.upper_layers)
        weights = [weight.value for weight in tuned.upper_layers.trainable_weights]
        with tf.GradientTape() as tape:
            losses, _ = CrossEntropy(tuned).token_losses(
                features, tf.constant(make_tokens()), NO_DROPOUT
            )
            loss = tf.reduce_sum(losses)
        gradients = [tf.reshape(gradient, [-1]) for gradient in tape.gradient(loss, weights)]
        found.append(tf.concat(gradients, axis=0))
    assert tf.norm(found[0] - found[1]) < 0.1 * tf.norm(found[0])


def test_weights_have_names_of_their_own_the_decoder_s_first() -> None:
    tuned = make_tuned()
    named = tuned.weights_by_name()
    names = [weight.name for weight in tuned.decoder.weights]
    assert list(named) == [*names, "tuned_0", "tuned_1", "tuned_2", "tuned_3"]
    assert [id(weight) for weight in named.values()] == [id(weight) for weight in tuned.weights]


def test_the_encoding_s_digest_is_that_of_the_upper_layers_weights() -> None:
    first, same, other = make_tuned(), make_tuned(), make_tuned()
    other.upper_layers.weights[0].assign_add(tf.ones_like(other.upper_layers.weights[0]))
    assert first.encoding_digest() == same.encoding_digest() != other.encoding_digest()
    assert first.decoder.encoding_digest() == ""
