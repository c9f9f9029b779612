"""A network in two parts: together they give what the whole gives."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from refusals import refusal
from small_encoders import SIZE, images, residual_network, settings

from imcap import encoders
from imcap.encoders import networks
from imcap.encoders.split import split

layers = keras.layers


def assert_same_features(network: keras.Model, name: str) -> tuple[keras.Model, keras.Model]:
    lower, upper = split(network, name)
    expected = network(images(), training=False)
    found = upper(lower(images(), training=False), training=False)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    return lower, upper


@pytest.mark.parametrize("name", ["stage1_out", "stage2_down_relu", "stage3_out"])
def test_the_parts_give_the_network_s_features(name) -> None:
    network, _ = networks.load(settings(name="custom_cnn"))
    lower, upper = assert_same_features(network, name)
    assert len(lower.weights) + len(upper.weights) == len(network.weights)


def test_positions_that_the_upper_part_skips_are_left_out() -> None:
    lower, upper = assert_same_features(residual_network(), "stem_out")
    assert lower.output_shape == (None, 8, 8, 4)  # Of 16x16.
    assert upper.output_shape == (None, 8, 8, 8)


def test_positions_that_a_larger_convolution_reads_are_kept() -> None:
    network, _ = networks.load(settings(name="custom_cnn"))
    assert split(network, "stage3_out")[0].output_shape == (None, 8, 8, 16)


def test_pooling_belongs_to_the_upper_part() -> None:
    network, _ = networks.load(settings(name="custom_cnn", pooling="avg"))
    _, upper = assert_same_features(network, "stage3_out")
    assert upper.output_shape == (None, 32)


def test_a_network_with_a_network_inside_is_split() -> None:
    inner, _ = networks.load(settings(name="custom_cnn"))
    inputs = keras.Input((SIZE, SIZE, 3))
    outer = keras.Model(inputs, layers.Conv2D(5, 1)(inner(layers.Rescaling(0.5)(inputs))))
    _, upper = assert_same_features(outer, "stage3_out")
    assert upper.output_shape[1:] == (4, 4, 5)


def test_the_encoder_of_a_config_is_the_lower_part(tmp_path) -> None:
    residual_network().save(tmp_path / "network.keras")
    config = {"name": str(tmp_path / "network.keras")}
    whole = encoders.build(settings(**config))
    lower = encoders.build(settings(**config, tune_from="stem_out"))
    at_layer = encoders.build(settings(**config, layer="stem_out"))
    assert lower.feature_grid == whole.feature_grid == (8, 8)
    every = np.reshape(at_layer(images()), (-1, 16, 16, 4))
    expected = np.reshape(every[:, ::2, ::2], (-1, 64, 4))
    np.testing.assert_allclose(lower(images()), expected, rtol=1e-5, atol=1e-5)
    assert lower.digest() != whole.digest()


def called_twice() -> keras.Model:
    inputs = keras.Input((SIZE, SIZE, 3))
    twice = layers.Conv2D(3, 3, padding="same", name="twice")
    return keras.Model(inputs, layers.Conv2D(2, 1, name="end")(twice(twice(inputs))))


def ends_in_a_vector() -> keras.Model:
    inputs = keras.Input((SIZE, SIZE, 3))
    x = layers.GlobalAveragePooling2D(name="pooled")(inputs)
    return keras.Model(inputs, layers.Dense(2)(x))


@pytest.mark.parametrize(
    ("make", "name", "reason"),
    [
        (called_twice, "twice", "is called more than once"),
        (called_twice, "once", "is no layer before config.encoder.layer, end"),
        (ends_in_a_vector, "pooled", r"has an output of shape (None, 3): name one that ends in"),
    ],
)
def test_a_layer_that_cannot_be_split_at_is_refused(make, name, reason) -> None:
    line = refusal(split, make(), name)
    assert line.startswith(f"config.encoder.tune_from='{name}' {reason}")


def test_a_layer_within_a_block_is_refused() -> None:
    line = refusal(split, residual_network(), "within_the_block")
    assert line == (
        "config.encoder.tune_from='within_the_block' is not all that the layers after it read: "
        "name one that ends a block"
    )


def test_the_last_layer_is_refused() -> None:
    assert "leaves no layer to train" in refusal(split, residual_network(), "block_out")
