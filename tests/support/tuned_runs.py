"""Runs on the images of `landscapes` whose encoder's upper layers are trained with the decoder."""

from __future__ import annotations

from pathlib import Path

import keras
import landscapes
import numpy as np
from ml_collections import ConfigDict

TUNE_FROM = "inner_out"
RECORDS = "inner_records"  # The folder of records of that layer's output, beside `records`.


def write_encoder(path: Path, seed: int = 4) -> None:
    """Saves a network with a convolution that skips positions, a residual and normalizations; the
    layers above `TUNE_FROM` have nine variables, of which six stay once they are folded."""
    keras.utils.set_random_seed(seed)
    layers, side = keras.layers, landscapes.IMAGE_SIZE
    inputs = keras.Input((side, side, 3))
    x = layers.AveragePooling2D(side // 4)(layers.Rescaling(1 / 64, offset=-2.0)(inputs))
    x = layers.ReLU(name=TUNE_FROM)(layers.Conv2D(6, 1, name="inner")(x))
    x = layers.Conv2D(8, 1, strides=2, name="skips", use_bias=False)(x)
    x = shortcut = layers.ReLU()(layers.BatchNormalization(name="norm")(x))
    x = layers.Conv2D(8, 1, name="middle", activation="relu")(x)
    x = layers.Conv2D(8, 1, name="last")(x)
    network = keras.Model(inputs, layers.ReLU(name="end")(layers.Add()([x, shortcut])))
    rng = np.random.default_rng(5)
    norm = network.get_layer("norm")
    norm.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in norm.weights])
    network.save(path)


def make_config(workdir: Path, data: Path, **changes: object) -> ConfigDict:
    """Returns the resolved config of a run in `workdir`; see `landscapes.make_config`."""
    values = {
        "encoder__tune_from": TUNE_FROM,
        "records__dir": str(data / RECORDS),
        "train__encoder_learning_rate": 1e-2,
        "train__epochs": 2,
    }
    return landscapes.make_config(workdir, data, **(values | changes))
