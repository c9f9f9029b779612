"""The upper layers of a network as a layer that is trained."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_encoders import SIZE, images, save_weights_of_seen_data, settings

from imcap import encoders
from imcap.encoders import upper_layers
from imcap.encoders.upper_layers import UpperLayers


def build(config, **options) -> tuple[encoders.Encoder, UpperLayers]:
    """The encoder below `tune_from`, and what is above."""
    lower = encoders.build(config)
    network, digest = upper_layers.load(config)
    assert digest == lower.digest()
    return lower, UpperLayers(network, lower.feature_grid, **options)


def small(**changes):
    return settings(name="custom_cnn", tune_from="stage3_out", **changes)


def test_they_end_what_the_encoder_begins(tmp_path) -> None:
    config = small()
    save_weights_of_seen_data(config, tmp_path / "a.weights.h5")
    lower, upper = build(config)
    config.tune_from = ""
    whole = encoders.build(config)
    found = upper(lower(images()))
    assert found.shape == (2, 16, 32)
    assert (upper.feature_grid, upper.channels) == ((4, 4), 32)
    np.testing.assert_allclose(found, whole(images()), rtol=1e-4, atol=1e-4)


def test_they_end_resnet50(resnet) -> None:
    config = settings(name="ResNet50", weights=resnet[1], tune_from="conv4_block6_out")
    lower, upper = build(config)
    config.tune_from = ""
    expected = encoders.build(config)(images())
    np.testing.assert_allclose(upper(lower(images())), expected, rtol=1e-3, atol=1e-4)
    # Three blocks of three convolutions and a shortcut, each with a kernel and a bias.
    assert len(upper.trainable_weights) == len(upper.weights) == 20


def test_pooled_features_have_one_position() -> None:
    lower, upper = build(small(pooling="avg"))
    assert upper(lower(images())).shape == (2, 1, 32)
    assert upper.feature_grid == (1, 1)


def test_normalizations_that_are_not_folded_are_frozen(tmp_path) -> None:
    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Conv2D(4, 3, strides=4, name="end")(inputs)
    x = keras.layers.Conv2D(5, 1, activation="relu")(x)
    keras.Model(inputs, keras.layers.BatchNormalization()(x)).save(tmp_path / "network.keras")
    _, upper = build(settings(name=str(tmp_path / "network.keras"), tune_from="end"))
    assert len(upper.weights) == 6  # A kernel, a bias, and a normalization's four.
    assert [weight.name for weight in upper.trainable_weights] == ["kernel", "bias"]


def test_layers_that_are_kept_have_no_weights_to_train() -> None:
    _, upper = build(small(), trainable=False)
    assert upper.trainable_weights == [] and upper.weights


def test_gradients_are_those_of_finite_differences(tmp_path) -> None:
    config = small()
    save_weights_of_seen_data(config, tmp_path / "a.weights.h5")
    lower, upper = build(config)
    features = lower(images())
    direction = tf.random.stateless_normal([2, 16, 32], [1, 2])

    def loss() -> tf.Tensor:
        return tf.reduce_sum(tf.cast(upper(features) * direction, tf.float64))

    for weight in upper.trainable_weights:
        with tf.GradientTape() as tape:
            value = loss()
        gradient = tape.gradient(value, weight.value)
        step = 1e-3 * gradient / tf.norm(gradient)
        weight.assign_add(step)
        above = loss()
        weight.assign_sub(2 * step)
        slope = (above - loss()) / 2e-3
        weight.assign_add(step)
        np.testing.assert_allclose(slope, tf.norm(gradient), rtol=2e-2)


def test_bfloat16_products_give_nearly_the_same() -> None:
    lower, upper = build(small())
    _, rounded = build(small(), compute_dtype="bfloat16")
    features = lower(images())
    assert rounded(features).dtype == tf.bfloat16
    assert {weight.dtype for weight in rounded.weights} == {"float32"}
    scale = np.abs(upper(features)).max()
    found = tf.cast(rounded(features), tf.float32)
    np.testing.assert_allclose(found, upper(features), atol=0.02 * scale)
    assert np.any(found != upper(features))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_features_of_any_dtype_are_read(dtype) -> None:
    lower, upper = build(small())
    found = upper(tf.cast(lower(images()), dtype))
    assert found.dtype == tf.float32
    np.testing.assert_allclose(found, upper(lower(images())), atol=0.1)


def test_the_loaded_network_is_not_changed_by_training() -> None:
    network, _ = upper_layers.load(small())
    first, second = (UpperLayers(network, (8, 8)) for _ in range(2))
    first.weights[0].assign(first.weights[0] + 1)
    np.testing.assert_array_equal(second.weights[0], network.weights[0])
