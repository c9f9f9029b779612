"""imcap's own CNN: its shapes, and the names of its layers."""

from __future__ import annotations

import keras
from small_encoders import images, settings

from imcap import encoders
from imcap.encoders import networks


def test_each_stage_of_the_own_cnn_halves_the_side_and_doubles_the_channels() -> None:
    for stages, shape in ((1, (1024, 4)), (3, (64, 16)), (4, (16, 32))):
        encoder = encoders.build(settings(name="custom_cnn", stages=stages))
        assert encoder.feature_shape == shape
    assert encoder.feature_grid == (4, 4)
    assert encoder(images(1)).shape == (1, 16, 32)


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
