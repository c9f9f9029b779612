"""Small encoders: their configs, the images that they take, and a saved network."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
from ml_collections import ConfigDict

from imcap import config as config_lib
from imcap import encoders

SIZE = 64


def settings(**changes: object) -> ConfigDict:
    """A config's encoder part: small images, no pretrained weights."""
    config = config_lib.default().encoder
    config.update({"image_size": SIZE, "weights": "", "width": 4, **changes})
    return config


def images(count: int = 2, size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (count, size, size, 3)).astype(np.float32)


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


def residual_network() -> keras.Model:
    """A network that ends, after the layer `stem_out`, in a block as ResNet50's: a 1x1 convolution
    in either branch skips every second row and column."""
    keras.utils.set_random_seed(2)
    layers = keras.layers
    inputs = keras.Input((SIZE, SIZE, 3))
    x = layers.Conv2D(4, 3, strides=4, padding="same")(layers.Rescaling(1 / 255)(inputs))
    x = layers.ReLU(name="stem_out")(x)
    shortcut = layers.BatchNormalization()(layers.Conv2D(8, 1, strides=2)(x))
    x = layers.BatchNormalization()(layers.Conv2D(5, 1, strides=2, use_bias=False)(x))
    x = layers.Conv2D(8, 3, padding="same")(layers.ReLU(name="within_the_block")(x))
    x = layers.Add()([shortcut, layers.BatchNormalization()(x)])
    network = keras.Model(inputs, layers.ReLU(name="block_out")(x))
    _see_data(network)
    return network


def save_weights_of_seen_data(config: ConfigDict, path: Path) -> None:
    """Gives a config of an own network weights in which no normalization is the identity."""
    network = encoders.ENCODERS.load(config.name)(config)
    _see_data(network)
    network.save_weights(path)
    config.weights = str(path)


def _see_data(network: keras.Model) -> None:
    rng = np.random.default_rng(2)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 2.0, weight.shape) for weight in layer.weights])
