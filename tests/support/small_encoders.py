"""Small encoders: their configs, the images that they take, and a saved network."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
from ml_collections import ConfigDict

from imcap import config as config_lib

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
