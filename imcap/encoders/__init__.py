"""The encoders: any keras.applications network, any saved Keras file, and imcap's own networks.

A further own network is a module with a function like `custom_cnn.build` and a line in `ENCODERS`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ml_collections import ConfigDict

from imcap.registry import Registry

if TYPE_CHECKING:
    from imcap.encoders.encoder import Encoder

# Functions that build an untrained network from a config's `encoder` part. It takes float32
# [batch, image_size, image_size, 3], RGB in 0..255.
ENCODERS = Registry("config.encoder.name", {"custom_cnn": "imcap.encoders.custom_cnn:build"})
FILE_EXTENSIONS = (".keras", ".h5")


def is_file_name(name: str) -> bool:
    """Tells whether `config.encoder.name` is the path of a saved Keras file."""
    return os.path.splitext(name)[1] in FILE_EXTENSIONS


def build(config: ConfigDict, digest: str = "") -> Encoder:
    """Builds the encoder that a config's `encoder` part describes.

    Args:
      config: a config's `encoder` part.
      digest: of the weights that are wanted: where only kernels that are rounded to float16 have
        it, as those of files that store them so, they are rounded.

    Raises:
      UserError: an unknown name or layer, or weights that are missing or do not fit.
    """
    from imcap.encoders import encoder

    return encoder.build(config, digest)


def batch_size(config: ConfigDict) -> int:
    """Returns `config.batch_size`, or where it is 0: 128 images on a GPU, 8 on a CPU."""
    import tensorflow as tf

    return config.batch_size or (128 if tf.config.list_physical_devices("GPU") else 8)
