"""Folding of batch normalizations into convolutions."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from imcap.encoders import batch_norm_folding
from imcap.errors import UserError

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
def test_a_normalization_after_a_convolution_is_folded(kind, settings, use_bias) -> None:
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


def test_a_convolution_with_another_consumer_is_not_folded() -> None:
    inputs = keras.Input((SIDE, SIDE, 3))
    x = layers.Conv2D(4, 3)(inputs)
    network = model(inputs, layers.Add()([x, normalized(x)]))
    folded = batch_norm_folding.fold(network)
    assert len(norms(folded)) == 1
    assert_same(network, folded)


def test_a_convolution_that_is_an_output_is_not_folded() -> None:
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
def test_a_normalization_after_another_layer_is_not_folded(before) -> None:
    inputs = keras.Input((SIDE, SIDE, 3))
    network = model(inputs, normalized(before(inputs)))
    folded = batch_norm_folding.fold(network)
    assert len(norms(folded)) == len(norms(network))
    assert_same(network, folded)


def test_a_normalization_of_another_axis_is_not_folded() -> None:
    inputs = keras.Input((SIDE, SIDE, 3))
    network = model(inputs, normalized(layers.Conv2D(4, 3)(inputs), axis=1))
    assert len(norms(batch_norm_folding.fold(network))) == 1
    assert_same(network, batch_norm_folding.fold(network))


def test_layers_called_twice_are_not_folded() -> None:
    inputs = keras.Input((SIDE, SIDE, 3))
    convolution, norm = layers.Conv2D(3, 3, padding="same"), layers.BatchNormalization()
    other = layers.Conv2D(3, 3, padding="same")
    shared_convolution = layers.Add()([normalized(convolution(inputs)), convolution(inputs)])
    shared_norm = layers.Add()([norm(other(inputs)), norm(inputs)])
    network = model(inputs, layers.Add()([shared_convolution, shared_norm]))
    folded = batch_norm_folding.fold(network)
    assert len(norms(folded)) == 2
    assert_same(network, folded)


def test_layer_state_outside_the_weights_is_kept() -> None:
    inputs = keras.Input((SIDE, SIDE, 3))
    x = layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[4.0, 5.0, 6.0])(inputs)
    network = model(inputs, normalized(layers.Conv2D(4, 3)(x)))
    folded = batch_norm_folding.fold(network)
    assert not norms(folded)
    assert_same(network, folded)


def test_bare_operations_are_kept() -> None:
    inputs = keras.Input((SIDE, SIDE, 3))
    x = normalized(layers.Conv2D(4, 3, padding="same")(inputs))
    network = model(inputs, keras.ops.relu(x * 2.0) + 1.0)
    folded = batch_norm_folding.fold(network)
    assert not norms(folded)
    assert_same(network, folded)


def nested() -> keras.Model:
    """A network with networks as layers: all with a convolution and a normalization of one name."""

    def block(name: str, channels: int) -> keras.Model:
        inputs = keras.Input((SIDE, SIDE, channels))
        x = layers.Conv2D(4, 3, padding="same", name="conv")(inputs)
        network = model(inputs, layers.BatchNormalization(name="norm")(x))
        return keras.Model(network.input, network.output, name=name)

    first, second = block("first", 3), block("second", 4)
    sequential = keras.Sequential(
        [keras.Input((SIDE, SIDE, 4)), second, layers.ReLU()], name="sequential"
    )
    inputs = keras.Input((SIDE, SIDE, 3))
    x = first(inputs)
    x = sequential(x) + sequential(keras.ops.relu(x))  # Called twice.
    x = layers.BatchNormalization(name="norm")(layers.Conv2D(5, 3, name="conv")(x))
    return keras.Model(inputs, x)


def test_networks_as_layers_are_folded() -> None:
    network = nested()
    folded = batch_norm_folding.fold(network)
    # The network that is called twice keeps its normalization.
    assert [layer.name for layer in norms(folded)] == ["sequential_second_norm"]
    assert_same(network, folded)


def test_a_network_as_a_layer_without_a_graph_is_refused() -> None:
    class Opaque(keras.Model):
        def call(self, x: object) -> object:
            return x

    inputs = keras.Input((SIDE, SIDE, 3))
    network = keras.Model(inputs, Opaque(name="opaque")(inputs))
    with pytest.raises(UserError, match=r"^the encoder has a network 'opaque' inside"):
        batch_norm_folding.fold(network)


def test_the_given_network_is_not_changed() -> None:
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
def test_applications_networks_are_folded(name: str, left: int) -> None:
    network = getattr(keras.applications, name)(
        weights=None, include_top=False, input_shape=(64, 64, 3)
    )
    folded = batch_norm_folding.fold(network)
    assert len(norms(folded)) == left
    images = np.random.default_rng(3).uniform(-1, 1, (2, 64, 64, 3)).astype(np.float32)
    expected = network(images, training=False)
    np.testing.assert_allclose(folded(images, training=False), expected, rtol=1e-3, atol=1e-5)
