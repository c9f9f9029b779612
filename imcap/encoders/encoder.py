"""The encoder: RGB images in 0..255 to features, with the network's preprocessing inside."""

from __future__ import annotations

import hashlib

import keras
import ml_collections
import numpy as np
import tensorflow as tf

from imcap.encoders import batch_norm_folding, conv_add_fusion, networks
from imcap.errors import UserError


class Encoder(tf.Module):
    """Turns RGB images in 0..255 into features, with the network's own preprocessing inside."""

    def __init__(self, network: keras.Model, preprocess, image_size: int) -> None:
        """`network` maps preprocessed images to [batch, ...features]; see `load`."""
        super().__init__(name="encoder")
        self._digest = _digest(network)
        self.network = conv_add_fusion.guard(batch_norm_folding.fold(network))
        self.image_size = image_size
        self.preprocess = _as_convolution(preprocess)
        # A network may leave the size of its images open.
        shape = network.compute_output_shape((None, image_size, image_size, 3))[1:]
        positions = int(np.prod(shape[:-1])) if len(shape) > 1 else 1
        self.feature_shape = (positions, int(shape[-1]))
        self.feature_grid = tuple(shape[:-1]) if len(shape) == 3 else (1, positions)

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        """float32 [batch, image_size, image_size, 3] to float32 [batch, positions, channels]."""
        features = self.network(self.preprocess(images), training=False)
        return tf.reshape(tf.cast(features, tf.float32), (-1, *self.feature_shape))

    def digest(self) -> str:
        """Returns a hash of all weights: the same for the same numbers, wherever read from."""
        return self._digest


def _as_convolution(preprocess):
    """Returns a Keras preprocessing as one pass: they reorder, scale and shift channels, which
    takes Keras a pass each. What does anything else comes back as it is."""
    if preprocess is tf.identity:
        return preprocess
    corners = np.float32([[[[0, 0, 0], [256, 0, 0], [0, 256, 0], [0, 0, 256]]]])
    black, *primaries = np.array(preprocess(tf.constant(corners)))[0, 0]
    kernel = (np.array(primaries) - black) / 256
    colours = np.random.default_rng(0).uniform(0, 255, (1, 8, 8, 3)).astype(np.float32)
    if not np.allclose(colours @ kernel + black, preprocess(tf.constant(colours)), atol=1e-3):
        return preprocess

    def convolve(images: tf.Tensor) -> tf.Tensor:
        return tf.nn.bias_add(tf.nn.conv2d(images, kernel[None, None], 1, "VALID"), black)

    return convolve


def _digest(network: keras.Model) -> str:
    sha = hashlib.sha256()
    for weight in network.weights:
        sha.update(np.ascontiguousarray(weight.numpy()).tobytes())
    return sha.hexdigest()[:32]


def build(config: ml_collections.ConfigDict) -> Encoder:
    """Builds the encoder that `config` (a config's `encoder` part) describes.

    Raises:
      UserError: an unknown name or layer, or weights that are missing or do not fit.
    """
    network, preprocess = networks.load(config)
    try:
        return Encoder(network, preprocess, config.image_size)
    except ValueError as error:
        message = str(error).splitlines()[0]
        raise UserError(
            f"config.encoder.image_size={config.image_size} does not fit {config.name}: {message}"
        ) from error


def batch_size(config: ml_collections.ConfigDict) -> int:
    """Returns `config.batch_size`, or where it is 0 one that suits this machine."""
    return config.batch_size or (128 if tf.config.list_physical_devices("GPU") else 8)
