"""Batch normalization folded into convolutions."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from imcap.encoders import batch_norm_folding

layers = keras.layers
SIDE = 12


@pytest.fixture(autouse=True)
def seed() -> None:
    keras.utils.set_random_seed(1)


def normalized(x, **settings):
    return layers.BatchNormalization(**settings)(x)


def model(inputs, outputs) -> keras.Model:
    """A model whose normalizations have seen data: none of their weights is 0 or 1."""
    network = keras.Model(inputs, outputs)
    rng = np.random.default_rng(2)
    for layer in norms(network):
        layer.set_weights([rng.uniform(0.5, 2.0, weight.shape) for weight in layer.weights])
    return network


def norms(network: keras.Model) -> list:
    return [layer for layer in network.layers if isinstance(layer, layers.BatchNormalization)]


def assert_same(network: keras.Model, folded: keras.Model) -> None:
    images = np.random.default_rng(3).normal(size=(2, SIDE, SIDE, 3)).astype(np.float32)
    expected = keras.tree.flatten(network(images, training=False))
    for a, b in zip(expected, keras.tree.flatten(folded(images, training=False)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("use_bias", [False, True])
@pytest.mark.parametrize("settings", [{}, {"scale": False}, {"center": False}, {"epsilon": 0.5}])
@pytest.mark.parametrize("kind", ["full", "strided", "depthwise"])
def test_a_convolution_takes_over_the_normalization_behind_it(kind, settings, use_bias) -> None:
    inputs = keras.Input((SIDE, SIDE, 3))
    convolution = {
        "full": lambda: layers.Conv2D(5, 3, use_bias=use_bias),
        "strided": lambda: layers.Conv2D(4, 3, strides=2, padding="same", use_bias=use_bias),
        "depthwise": lambda: layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=use_bias),
    }[kind]()
    network = model(inputs, layers.ReLU()(normalized(convolution(inputs), **settings)))
    folded = batch_norm_folding.fold(network)
    assert not norms(folded)
    assert_same(network, folded)


def test_one_with_another_user_of_its_input_stays() -> None:
    inputs = keras.Input((SIDE, SIDE, 3))
    x = layers.Conv2D(4, 3)(inputs)
    network = model(inputs, layers.Add()([x, normalized(x)]))
    folded = batch_norm_folding.fold(network)
    assert len(norms(folded)) == 1
    assert_same(network, folded)


def test_one_whose_input_is_an_output_too_stays() -> None:
    inputs = keras.Input((SIDE, SIDE, 3))
    x = layers.Conv2D(4, 3)(inputs)
    network = model(inputs, [x, normalized(x)])
    assert len(norms(batch_norm_folding.fold(network))) == 1
    assert_same(network, batch_norm_folding.fold(network))


@pytest.mark.parametrize(
    "before",
    [
        lambda x: x,
        layers.ReLU(),
        layers.Conv2D(4, 3, activation="relu"),
        layers.SeparableConv2D(4, 3),
        layers.BatchNormalization(),
    ],
)
def test_one_behind_anything_else_stays(before) -> None:
    inputs = keras.Input((SIDE, SIDE, 3))
    network = model(inputs, normalized(before(inputs)))
    folded = batch_norm_folding.fold(network)
    assert len(norms(folded)) == len(norms(network))
    assert_same(network, folded)


def test_one_over_another_axis_stays() -> None:
    inputs = keras.Input((SIDE, SIDE, 3))
    network = model(inputs, normalized(layers.Conv2D(4, 3)(inputs), axis=1))
    assert len(norms(batch_norm_folding.fold(network))) == 1
    assert_same(network, batch_norm_folding.fold(network))


def test_layers_used_twice_stay() -> None:
    inputs = keras.Input((SIDE, SIDE, 3))
    convolution, norm = layers.Conv2D(3, 3, padding="same"), layers.BatchNormalization()
    other = layers.Conv2D(3, 3, padding="same")
    shared_convolution = layers.Add()([normalized(convolution(inputs)), convolution(inputs)])
    shared_norm = layers.Add()([norm(other(inputs)), norm(inputs)])
    network = model(inputs, layers.Add()([shared_convolution, shared_norm]))
    folded = batch_norm_folding.fold(network)
    assert len(norms(folded)) == 2
    assert_same(network, folded)


def test_what_a_layer_holds_beside_its_weights_is_kept() -> None:
    inputs = keras.Input((SIDE, SIDE, 3))
    x = layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[4.0, 5.0, 6.0])(inputs)
    network = model(inputs, normalized(layers.Conv2D(4, 3)(x)))
    folded = batch_norm_folding.fold(network)
    assert not norms(folded)
    assert_same(network, folded)


def test_networks_inside_a_network_and_bare_operations_stay_as_they_are() -> None:
    inner_inputs = keras.Input((SIDE, SIDE, 4))
    inner = keras.Model(inner_inputs, normalized(layers.Conv2D(4, 3)(inner_inputs)))
    inputs = keras.Input((SIDE, SIDE, 3))
    x = normalized(layers.Conv2D(4, 3, padding="same")(inputs))
    network = model(inputs, keras.ops.relu(inner(x) * 2.0) + 1.0)
    folded = batch_norm_folding.fold(network)
    assert not norms(folded)
    assert_same(network, folded)


def test_the_network_given_still_computes_the_same() -> None:
    inputs = keras.Input((SIDE, SIDE, 3))
    network = model(inputs, normalized(layers.Conv2D(4, 3, name="inner")(inputs)))
    image = np.ones((1, SIDE, SIDE, 3), np.float32)
    before = np.array(network(image, training=False))
    folded = batch_norm_folding.fold(network)
    np.testing.assert_array_equal(network(image, training=False), before)
    assert [layer.name for layer in folded.layers][-1] == "inner"
    assert not folded.trainable_weights


@pytest.mark.parametrize(
    ("name", "left"),
    [("MobileNetV2", 0), ("MobileNetV3Small", 0), ("EfficientNetB0", 0), ("DenseNet121", 62)],
)
def test_published_networks(name: str, left: int) -> None:
    network = getattr(keras.applications, name)(
        weights=None, include_top=False, input_shape=(64, 64, 3)
    )
    folded = batch_norm_folding.fold(network)
    assert len(norms(folded)) == left
    images = np.random.default_rng(3).uniform(-1, 1, (2, 64, 64, 3)).astype(np.float32)
    expected = network(images, training=False)
    np.testing.assert_allclose(folded(images, training=False), expected, rtol=1e-3, atol=1e-5)
