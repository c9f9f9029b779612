"""Networks by name or file: found with their weights, or refused in one line."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import keras
import pytest
from ml_collections import ConfigDict
from refusals import refusal
from small_encoders import SIZE, save_network, settings

from imcap import encoders
from imcap.encoders import ENCODERS


@pytest.mark.parametrize("name", ["ResNet51", "resnet50", "__doc__", ""])
def test_an_unknown_name_is_refused_with_the_known_ones(name: str) -> None:
    line = refusal(encoders.build, settings(name=name))
    assert line.startswith(
        f"config.encoder.name={name!r}: give a saved Keras file (.keras, .h5), or "
    )
    assert "choose one of custom_cnn, " in line
    assert "ResNet50, " in line


def test_the_nearest_name_is_suggested() -> None:
    assert refusal(encoders.build, settings(name="ResNet51")).endswith("; did you mean ResNet50?")
    assert refusal(encoders.build, settings(name="custom_cn")).endswith(
        "; did you mean custom_cnn?"
    )


def build_own_network(config: ConfigDict) -> keras.Model:
    """What an application registers: a network of one convolution."""
    inputs = keras.Input((config.image_size, config.image_size, 3))
    outputs = keras.layers.Conv2D(config.width, 3, strides=2, padding="same", name="only")(inputs)
    return keras.Model(inputs, outputs)


def test_a_registered_network_is_an_encoder() -> None:
    with ENCODERS.registered("own", f"{__name__}:build_own_network"):
        encoder = encoders.build(settings(name="own"))
        assert "choose one of custom_cnn, own, " in refusal(encoders.build, settings(name="other"))
    assert encoder.feature_shape == (SIZE * SIZE // 4, 4)


@pytest.mark.parametrize("name", ["MobileNet", "custom_cnn"])
def test_an_unknown_layer_is_refused_with_the_last_ones(name: str) -> None:
    line = refusal(encoders.build, settings(name=name, layer="conv99"))
    assert line.startswith(f"config.encoder.layer='conv99' is no layer of {name}; its last ones")


def test_images_too_small_for_a_network_are_refused() -> None:
    line = refusal(encoders.build, settings(name="ResNet50", image_size=16))
    assert "image_size=16" in line
    assert "at least 32x32" in line


def test_missing_weights_are_refused(tmp_path) -> None:
    path = str(tmp_path / "none.h5")
    line = refusal(encoders.build, settings(name="MobileNet", weights=path))
    assert line == f"config.encoder.weights={path}: no such file"
    assert refusal(encoders.build, settings(name="custom_cnn", weights=path)).endswith(
        "(`imcap pretrain` makes it)"
    )


@pytest.mark.parametrize(
    "config",
    [settings(name="MobileNet"), settings(name="custom_cnn"), settings(name="ResNet101")],
    ids=lambda config: config.name,
)
def test_weights_of_another_network_are_refused(resnet, config, recwarn) -> None:
    config.weights = resnet[1]
    line = refusal(encoders.build, config)
    assert line.startswith(f"config.encoder.weights={resnet[1]} does not fit {config.name}: ")
    assert not recwarn.list


def test_weights_of_another_width_are_refused(tmp_path) -> None:
    path = str(tmp_path / "cnn.weights.h5")
    encoders.build(settings(name="custom_cnn", width=4)).network.save_weights(path)
    line = refusal(encoders.build, settings(name="custom_cnn", width=8, weights=path))
    assert line.startswith(f"config.encoder.weights={path} does not fit custom_cnn: ")


@pytest.mark.parametrize("suffix", [".weights.h5", ".h5", ".keras", ".bin"])
def test_garbage_weights_are_refused(tmp_path, suffix: str) -> None:
    path = tmp_path / f"garbage{suffix}"
    write_garbage(path)
    line = refusal(encoders.build, settings(name="custom_cnn", weights=str(path)))
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
    line = refusal(encoders.build, settings(name=str(path)))
    assert line.startswith(f"config.encoder.name={path} is no Keras model: ")


def test_a_missing_model_file_is_refused(tmp_path) -> None:
    path = str(tmp_path / "none.keras")
    assert (
        refusal(encoders.build, settings(name=path)) == f"config.encoder.name={path}: no such file"
    )


def test_a_file_with_python_code_inside_is_refused(tmp_path) -> None:
    path = str(tmp_path / "code.keras")
    code = keras.layers.Lambda(lambda x: x)
    keras.Sequential([keras.Input((SIZE, SIZE, 3)), code]).save(path)
    assert refusal(encoders.build, settings(name=path)).startswith(
        f"config.encoder.name={path} is no Keras model"
    )


def test_a_file_for_images_of_another_size_is_refused(tmp_path) -> None:
    path = str(tmp_path / "network.keras")
    save_network(tmp_path / "network.keras", side=32)
    line = refusal(encoders.build, settings(name=path))
    assert line.startswith(f"config.encoder.image_size={SIZE} does not fit {path}: ")
    assert "(None, 32, 32, 3)" in line


def test_a_file_with_several_inputs_or_outputs_is_refused(tmp_path) -> None:
    first, second = keras.Input((SIZE, SIZE, 3)), keras.Input((SIZE, SIZE, 3))
    path = str(tmp_path / "inputs.keras")
    keras.Model([first, second], keras.layers.Add()([first, second])).save(path)
    assert "has 2 inputs and 1 outputs" in refusal(encoders.build, settings(name=path))
    path = str(tmp_path / "outputs.keras")
    heads = [keras.layers.Conv2D(3, 1, name=name)(first) for name in ("left", "right")]
    keras.Model(first, heads).save(path)
    assert "has 1 inputs and 2 outputs" in refusal(encoders.build, settings(name=path))
    assert encoders.build(settings(name=path, layer="left")).feature_shape == (SIZE * SIZE, 3)
