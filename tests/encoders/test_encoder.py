"""Encoders: any network with its own preprocessing, the same weights for the same seed."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from small_encoders import SIZE, images, save_network, settings

from imcap import encoders
from imcap.encoders import networks


def test_an_applications_network_gives_a_grid_of_features(resnet) -> None:
    encoder = encoders.build(settings(name="ResNet50", weights=resnet[1]))
    assert encoder.feature_shape == (4, 2048)
    assert encoder.feature_grid == (2, 2)
    features = encoder(images())
    assert features.shape == (2, 4, 2048)
    assert features.dtype == np.float32


def test_preprocessing_is_applied(resnet) -> None:
    network, path = resnet
    encoder = encoders.build(settings(name="ResNet50", weights=path))
    prepared = keras.applications.resnet50.preprocess_input(images().copy())
    expected = np.reshape(network(prepared, training=False), (2, 4, 2048))
    np.testing.assert_allclose(encoder(images()), expected, rtol=1e-4, atol=1e-4)


def test_preprocessing_depends_on_the_network() -> None:
    encoder = encoders.build(settings(name="MobileNet"))
    prepared = keras.applications.mobilenet.preprocess_input(images().copy())
    assert np.abs(prepared).max() <= 1
    network, _ = networks.load(settings(name="MobileNet"))
    expected = np.reshape(network(prepared), (2, 4, 1024))
    np.testing.assert_allclose(encoder(images()), expected, rtol=1e-4, atol=1e-4)


def test_pooling_averages_positions(resnet) -> None:
    grid = encoders.build(settings(name="ResNet50", weights=resnet[1]))
    pooled = encoders.build(settings(name="ResNet50", weights=resnet[1], pooling="avg"))
    assert pooled.feature_shape == (1, 2048)
    assert pooled.feature_grid == (1, 1)
    expected = np.mean(grid(images()), axis=1, keepdims=True)
    np.testing.assert_allclose(pooled(images()), expected, rtol=1e-4, atol=1e-4)


def test_an_inner_layer_ends_the_network(resnet) -> None:
    network, path = resnet
    layer = "conv3_block4_out"
    encoder = encoders.build(settings(name="ResNet50", weights=path, layer=layer))
    assert encoder.feature_shape == (64, 512)
    assert encoder.feature_grid == (8, 8)
    inner = keras.Model(network.inputs[0], network.get_layer(layer).output)
    prepared = keras.applications.resnet50.preprocess_input(images().copy())
    expected = np.reshape(inner(prepared, training=False), (2, 64, 512))
    np.testing.assert_allclose(encoder(images()), expected, rtol=1e-4, atol=1e-4)


def test_a_layer_of_the_top_can_be_chosen() -> None:
    encoder = encoders.build(settings(name="MobileNet", layer="predictions"))
    assert encoder.feature_shape == (1, 1000)
    np.testing.assert_allclose(np.sum(encoder(images()), axis=-1), 1.0, rtol=1e-4)


@pytest.mark.parametrize("side", [SIZE, None])
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_saved_keras_file_gets_unprocessed_images(tmp_path, side, suffix) -> None:
    network = save_network(tmp_path / f"network{suffix}", side)
    encoder = encoders.build(settings(name=str(tmp_path / f"network{suffix}")))
    assert encoder.feature_shape == (256, 5)
    assert encoder.feature_grid == (16, 16)
    expected = np.reshape(network(images()), (2, 256, 5))
    np.testing.assert_allclose(encoder(images()), expected, rtol=1e-5, atol=1e-5)


def test_a_saved_keras_file_can_be_cut_and_pooled(tmp_path) -> None:
    path = str(tmp_path / "network.keras")
    save_network(tmp_path / "network.keras")
    assert encoders.build(settings(name=path, layer="inner")).feature_shape == (256, 6)
    encoder = encoders.build(settings(name=path, layer="inner", pooling="avg"))
    assert encoder.feature_shape == (1, 6)


def test_a_sequential_model_is_an_encoder(tmp_path) -> None:
    path = str(tmp_path / "sequential.keras")
    layers = [keras.Input((SIZE, SIZE, 3)), keras.layers.Flatten(), keras.layers.Dense(7)]
    keras.Sequential(layers).save(path)
    assert encoders.build(settings(name=path)).feature_shape == (1, 7)


def test_features_do_not_depend_on_the_rest_of_the_batch() -> None:
    encoder = encoders.build(settings(name="custom_cnn"))
    together = encoder(images(3))
    alone = np.concatenate([encoder(images(3)[i : i + 1]) for i in range(3)])
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["custom_cnn", "MobileNet"])
def test_the_seed_decides_weights_that_are_not_pretrained(name: str) -> None:
    first = encoders.build(settings(name=name, seed=1))
    keras.utils.set_random_seed(99)
    again = encoders.build(settings(name=name, seed=1))
    other = encoders.build(settings(name=name, seed=2))
    assert first.digest() == again.digest()
    assert first.digest() != other.digest()
    np.testing.assert_array_equal(first(images()), again(images()))


def test_the_digest_depends_on_the_weights_alone(tmp_path) -> None:
    network, _ = networks.load(settings(name="custom_cnn", seed=3))
    network.save_weights(tmp_path / "a.weights.h5")
    network.save(tmp_path / "b.keras")
    encoder = encoders.build(settings(name="custom_cnn", seed=3))
    loaded = encoders.build(settings(name="custom_cnn", weights=str(tmp_path / "a.weights.h5")))
    as_model = encoders.build(settings(name=str(tmp_path / "b.keras")))
    assert encoder.digest() == loaded.digest() == as_model.digest()
    network.weights[0].assign(network.weights[0] + 1e-3)
    network.save(tmp_path / "b.keras")
    assert encoders.build(settings(name=str(tmp_path / "b.keras"))).digest() != encoder.digest()


def test_an_encoder_is_not_trainable() -> None:
    assert encoders.build(settings(name="custom_cnn")).network.trainable_weights == []


def test_a_network_with_a_network_inside_is_an_encoder(tmp_path) -> None:
    inner = keras.applications.MobileNet(
        weights=None, include_top=False, input_shape=(SIZE, SIZE, 3)
    )
    inputs = keras.Input((SIZE, SIZE, 3))
    network = keras.Model(inputs, inner(keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs)))
    path = str(tmp_path / "nested.keras")
    network.save(path)
    encoder = encoders.build(settings(name=path))
    norms = [layer for layer in encoder.network.layers if "BatchNorm" in type(layer).__name__]
    assert not norms
    expected = np.reshape(network(images(), training=False), (2, 4, 1024))
    np.testing.assert_allclose(encoder(images()), expected, rtol=1e-3, atol=1e-4)
