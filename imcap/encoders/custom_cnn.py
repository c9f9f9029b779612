"""imcap's own CNN: small enough to be trained from scratch by `imcap pretrain`."""

from __future__ import annotations

import keras
from ml_collections import ConfigDict

layers = keras.layers


def build(config: ConfigDict) -> keras.Model:
    """Builds stages of two 3x3 convolutions, the first with stride 2, the second residual.

    Layers have fixed names, such as `stage2_out`, so that `config.encoder.layer` names the same
    layer in every process.

    Args:
      config: a config's `encoder` part: `image_size`, `stages`, and `width`, the channels of the
        first stage; each further stage has twice as many.

    Returns:
      A network from images float32 [batch, image_size, image_size, 3] in 0..255 to
      [batch, rows, columns, channels].
    """
    inputs = keras.Input((config.image_size, config.image_size, 3), name="images")
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="rescaling")(inputs)
    for stage in range(config.stages):
        x = _stage(x, f"stage{stage + 1}", config.width * 2**stage)
    return keras.Model(inputs, x, name="custom_cnn")


def _stage(x: keras.KerasTensor, name: str, channels: int) -> keras.KerasTensor:
    x = _convolve(x, f"{name}_down", channels, strides=2)
    x = layers.ReLU(name=f"{name}_down_relu")(x)
    y = _convolve(x, f"{name}_residual", channels, strides=1)
    return layers.ReLU(name=f"{name}_out")(layers.Add(name=f"{name}_add")([x, y]))


def _convolve(x: keras.KerasTensor, name: str, channels: int, strides: int) -> keras.KerasTensor:
    x = layers.Conv2D(
        channels, 3, strides=strides, padding="same", use_bias=False, name=f"{name}_conv"
    )(x)
    return layers.BatchNormalization(name=f"{name}_norm")(x)
