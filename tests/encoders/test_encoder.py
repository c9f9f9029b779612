"""Encoders: any network with its own preprocessing, the same weights for the same seed."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
from ml_collections import ConfigDict

from imcap import config as config_lib
from imcap import encoders
from imcap.encoders import ENCODERS, networks
from imcap.errors import UserError

SIZE = 64


def settings(**changes: object) -> ConfigDict:
    """A config's encoder part: small images, no pretrained weights."""
    config = config_lib.default().encoder
    config.update({"image_size": SIZE, "weights": "", "width": 4, **changes})
    return config


def images(count: int = 2, size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (count, size, size, 3)).astype(np.float32)


def message(config: ConfigDict) -> str:
    """The one line that refuses a config."""
    with pytest.raises(UserError) as caught:
        encoders.build(config)
    line = str(caught.value)
    assert "\n" not in line
    return line


@pytest.fixture(scope="module")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> tuple[keras.Model, str]:
    """Keras' ResNet50 and the file of its weights."""
    keras.utils.set_random_seed(5)
    network = keras.applications.ResNet50(
        include_top=False, weights=None, input_shape=(SIZE, SIZE, 3)
    )
    path = tmp_path_factory.mktemp("weights") / "resnet50.weights.h5"
    network.save_weights(path)
    return network, str(path)


def save_network(path: Path, side: int | None = SIZE) -> keras.Model:
    """Saves a small network that takes RGB in 0..255, as its first layer says."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((side, side, 3))
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.Conv2D(6, 3, strides=4, padding="same", name="inner")(x)
    x = keras.layers.Dropout(0.5)(x)  # Only in training.
    network = keras.Model(inputs, keras.layers.Conv2D(5, 1)(x))
    network.save(path)
    return network


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


def test_each_stage_of_the_own_cnn_halves_the_side_and_doubles_the_channels() -> None:
    for stages, shape in ((1, (1024, 4)), (3, (64, 16)), (4, (16, 32))):
        encoder = encoders.build(settings(name="custom_cnn", stages=stages))
        assert encoder.feature_shape == shape
    assert encoder.feature_grid == (4, 4)
    assert encoder(images(1)).shape == (1, 16, 32)


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


@pytest.mark.parametrize("name", ["ResNet51", "resnet50", "__doc__", ""])
def test_an_unknown_name_is_refused_with_the_known_ones(name: str) -> None:
    line = message(settings(name=name))
    assert line.startswith(
        f"config.encoder.name={name!r}: give a saved Keras file (.keras, .h5), or "
    )
    assert "choose one of custom_cnn, " in line
    assert "ResNet50, " in line


def test_the_nearest_name_is_suggested() -> None:
    assert message(settings(name="ResNet51")).endswith("; did you mean ResNet50?")
    assert message(settings(name="custom_cn")).endswith("; did you mean custom_cnn?")


def build_own_network(config: ConfigDict) -> keras.Model:
    """What an application registers: a network of one convolution."""
    inputs = keras.Input((config.image_size, config.image_size, 3))
    outputs = keras.layers.Conv2D(config.width, 3, strides=2, padding="same", name="only")(inputs)
    return keras.Model(inputs, outputs)


def test_a_registered_network_is_an_encoder() -> None:
    with ENCODERS.registered("own", f"{__name__}:build_own_network"):
        encoder = encoders.build(settings(name="own"))
        assert "choose one of custom_cnn, own, " in message(settings(name="other"))
    assert encoder.feature_shape == (SIZE * SIZE // 4, 4)


def test_layers_of_the_own_cnn_have_the_same_names_in_any_process(tmp_path) -> None:
    networks.load(settings(name="custom_cnn"))
    path = str(tmp_path / "cnn.weights.h5")
    network, _ = networks.load(settings(name="custom_cnn"))
    names = [layer.name for layer in network.layers]
    assert names[:3] == ["images", "rescaling", "stage1_down_conv"]
    assert names[-1] == "stage4_out"
    assert encoders.build(settings(name="custom_cnn", layer="stage2_out")).feature_shape == (256, 8)
    network.save_weights(path)
    assert encoders.build(settings(name="custom_cnn", weights=path)).feature_shape == (16, 32)


def test_weights_of_a_cnn_with_numbered_layer_names_are_read(tmp_path) -> None:
    """Keras stores weights by class and order: files of before layers had fixed names fit."""
    network, _ = networks.load(settings(name="custom_cnn", seed=3))
    renamed = keras.models.clone_model(
        network, clone_function=lambda layer: type(layer).from_config(unnamed(layer))
    )
    renamed.set_weights(network.get_weights())
    assert renamed.layers[2].name != "stage1_down_conv"
    path = str(tmp_path / "cnn.weights.h5")
    renamed.save_weights(path)
    encoder = encoders.build(settings(name="custom_cnn", weights=path))
    assert encoder.digest() == encoders.build(settings(name="custom_cnn", seed=3)).digest()


def unnamed(layer: keras.layers.Layer) -> dict:
    return {key: value for key, value in layer.get_config().items() if key != "name"}


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


@pytest.mark.parametrize("name", ["MobileNet", "custom_cnn"])
def test_an_unknown_layer_is_refused_with_the_last_ones(name: str) -> None:
    line = message(settings(name=name, layer="conv99"))
    assert line.startswith(f"config.encoder.layer='conv99' is no layer of {name}; its last ones")


def test_images_too_small_for_a_network_are_refused() -> None:
    line = message(settings(name="ResNet50", image_size=16))
    assert "image_size=16" in line
    assert "at least 32x32" in line


def test_missing_weights_are_refused(tmp_path) -> None:
    path = str(tmp_path / "none.h5")
    line = message(settings(name="MobileNet", weights=path))
    assert line == f"config.encoder.weights={path}: no such file"
    assert message(settings(name="custom_cnn", weights=path)).endswith(
        "(`imcap pretrain` makes it)"
    )


@pytest.mark.parametrize(
    "config",
    [settings(name="MobileNet"), settings(name="custom_cnn"), settings(name="ResNet101")],
    ids=lambda config: config.name,
)
def test_weights_of_another_network_are_refused(resnet, config, recwarn) -> None:
    config.weights = resnet[1]
    line = message(config)
    assert line.startswith(f"config.encoder.weights={resnet[1]} does not fit {config.name}: ")
    assert not recwarn.list


def test_weights_of_another_width_are_refused(tmp_path) -> None:
    path = str(tmp_path / "cnn.weights.h5")
    encoders.build(settings(name="custom_cnn", width=4)).network.save_weights(path)
    line = message(settings(name="custom_cnn", width=8, weights=path))
    assert line.startswith(f"config.encoder.weights={path} does not fit custom_cnn: ")


@pytest.mark.parametrize("suffix", [".weights.h5", ".h5", ".keras", ".bin"])
def test_garbage_weights_are_refused(tmp_path, suffix: str) -> None:
    path = tmp_path / f"garbage{suffix}"
    write_garbage(path)
    line = message(settings(name="custom_cnn", weights=str(path)))
    assert line.startswith(f"config.encoder.weights={path} does not fit custom_cnn: ")


def write_garbage(path: Path) -> None:
    path.write_bytes(b"\x00garbage\xff" * 50)


def write_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("readme.txt", "no model")


def write_weights(path: Path) -> None:
    weights = path.with_suffix(".weights.h5")
    save_network(path.with_suffix(".keras")).save_weights(weights)
    weights.rename(path)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("garbage.keras", write_garbage),
        ("garbage.h5", write_garbage),
        ("empty.keras", Path.touch),
        ("zip.keras", write_zip),
        ("only_weights.h5", write_weights),
    ],
)
def test_a_file_that_is_no_model_is_refused(
    tmp_path, name: str, write: Callable[[Path], object]
) -> None:
    path = tmp_path / name
    write(path)
    line = message(settings(name=str(path)))
    assert line.startswith(f"config.encoder.name={path} is no Keras model: ")


def test_a_missing_model_file_is_refused(tmp_path) -> None:
    path = str(tmp_path / "none.keras")
    assert message(settings(name=path)) == f"config.encoder.name={path}: no such file"


def test_a_file_with_python_code_inside_is_refused(tmp_path) -> None:
    path = str(tmp_path / "code.keras")
    code = keras.layers.Lambda(lambda x: x)
    keras.Sequential([keras.Input((SIZE, SIZE, 3)), code]).save(path)
    assert message(settings(name=path)).startswith(f"config.encoder.name={path} is no Keras model")


def test_a_file_for_images_of_another_size_is_refused(tmp_path) -> None:
    path = str(tmp_path / "network.keras")
    save_network(tmp_path / "network.keras", side=32)
    line = message(settings(name=path))
    assert line.startswith(f"config.encoder.image_size={SIZE} does not fit {path}: ")
    assert "(None, 32, 32, 3)" in line


def test_a_file_with_several_inputs_or_outputs_is_refused(tmp_path) -> None:
    first, second = keras.Input((SIZE, SIZE, 3)), keras.Input((SIZE, SIZE, 3))
    path = str(tmp_path / "inputs.keras")
    keras.Model([first, second], keras.layers.Add()([first, second])).save(path)
    assert "has 2 inputs and 1 outputs" in message(settings(name=path))
    path = str(tmp_path / "outputs.keras")
    heads = [keras.layers.Conv2D(3, 1, name=name)(first) for name in ("left", "right")]
    keras.Model(first, heads).save(path)
    assert "has 1 inputs and 2 outputs" in message(settings(name=path))
    assert encoders.build(settings(name=path, layer="left")).feature_shape == (SIZE * SIZE, 3)
