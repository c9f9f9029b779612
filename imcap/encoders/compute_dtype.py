"""The dtype of an encoder's convolutions: which one is faster, and an encoder in bfloat16."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from imcap import runtime
from imcap.encoders.conv_add_fusion import Copy
from imcap.encoders.encoder import Encoder
from imcap.encoders.layer_graph import CONVOLUTIONS

_TIMED_SHAPES = 3
# What convolutions share their tensors with. All other layers, such as means over positions, stay
# float32; Keras casts their inputs.
_CHANGED = (
    *CONVOLUTIONS,
    Copy,
    keras.layers.Activation,
    keras.layers.Add,
    keras.layers.Concatenate,
    keras.layers.MaxPooling2D,
    keras.layers.ReLU,
    keras.layers.ZeroPadding2D,
)


def choose(requested: str, network: keras.Model, batch_size: int) -> runtime.DtypeChoice:
    """Returns the dtype of the convolutions: for `auto`, the one that is faster on this machine.

    Args:
      requested: `float32`, `bfloat16` or `auto`.
      network: an encoder's, without networks as layers.
      batch_size: images at a time.
    """
    if requested == "auto" and tf.config.list_physical_devices("GPU"):
        return runtime.DtypeChoice("float32", "bfloat16 convolutions are for CPUs only")
    shapes = convolution_shapes(network, batch_size)
    return runtime.choose_dtype(requested, shapes[:_TIMED_SHAPES])


def convolution_shapes(network: keras.Model, batch_size: int) -> list[runtime.GemmShape]:
    """Returns the matrix products (m, k, n) that convolutions amount to, the largest first."""
    shapes = set()
    for layer in network.layers:
        if isinstance(layer, keras.layers.Conv2D) and None not in layer.output.shape[1:]:
            *window, channels = layer.kernel.shape
            positions = int(np.prod(layer.output.shape[1:3]))
            shapes.add((batch_size * positions, int(np.prod(window)), channels))
    # Without a convolution of known size: a product of ResNet50's.
    largest = sorted(shapes, key=lambda shape: (-int(np.prod(shape)), shape))
    return largest or [(batch_size * 196, 2304, 256)]


class Bfloat16Encoder(tf.Module):
    """An encoder whose convolutions have bfloat16 weights, inputs and outputs.

    A SavedModel of it computes so wherever it is loaded, and no call casts a kernel. Sums within a
    convolution are float32.
    """

    def __init__(self, encoder: Encoder) -> None:
        """`encoder`: stays as it is."""
        super().__init__(name="encoder")
        self._network = _in_bfloat16(encoder.network)
        self._preprocess, self._shape = encoder.preprocess, encoder.feature_shape

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        """See `Encoder`."""
        features = self._network(self._preprocess(images), training=False)
        return tf.reshape(tf.cast(features, tf.float32), (-1, *self._shape))


def _in_bfloat16(network: keras.Model) -> keras.Model:
    def clone(layer: Any) -> Any:
        if type(layer) not in _CHANGED:
            return layer
        return type(layer).from_config({**layer.get_config(), "dtype": "bfloat16"})

    copy = keras.models.clone_model(network, clone_function=clone)
    for layer in network.layers:
        if type(layer) in CONVOLUTIONS:
            copy.get_layer(layer.name).set_weights(layer.get_weights())
    copy.trainable = False
    return copy
