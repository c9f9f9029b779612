"""The encoder: RGB images in 0..255 to features, with the network's preprocessing inside."""

from __future__ import annotations

import hashlib

import keras
import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from imcap.encoders import batch_norm_folding, conv_add_fusion, networks
from imcap.encoders.networks import Preprocess
from imcap.encoders.split import split
from imcap.errors import UserError, first_line


class Encoder(tf.Module):
    """Turns RGB images in 0..255 into features, with the network's own preprocessing inside.

    Attributes:
      network: the network as it is run: folded and guarded; not trainable.
      image_size: side of the images in pixels.
      feature_shape: (positions, channels).
      feature_grid: (rows, columns) of the positions; (1, positions) where they are no grid.
    """

    def __init__(self, network: keras.Model, preprocess: Preprocess, image_size: int) -> None:
        """Makes an encoder of a network and its preprocessing, as `networks.load` returns them.

        Raises:
          ValueError: the network does not take images of this size.
          UserError: it has a network inside whose layers are not known.
        """
        super().__init__(name="encoder")
        self._digest = digest(network)
        self.network = conv_add_fusion.guard(batch_norm_folding.fold(network))
        self.image_size = image_size
        self.preprocess = _as_convolution(preprocess)
        # The network itself may leave the size of its images open.
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


def _as_convolution(preprocess: Preprocess) -> Preprocess:
    """Returns a preprocessing that reorders, scales and shifts channels as one 1x1 convolution.

    Keras takes a pass over the images for each of these steps. A preprocessing that does anything
    else is returned unchanged.
    """
    if preprocess is tf.identity:
        return preprocess
    corners = np.array([[[[0, 0, 0], [256, 0, 0], [0, 256, 0], [0, 0, 256]]]], np.float32)
    black, *primaries = np.array(preprocess(tf.constant(corners)))[0, 0]
    kernel = (np.array(primaries) - black) / 256
    colours = np.random.default_rng(0).uniform(0, 255, (1, 8, 8, 3)).astype(np.float32)
    if not np.allclose(colours @ kernel + black, preprocess(tf.constant(colours)), atol=1e-3):
        return preprocess

    def convolve(images: tf.Tensor) -> tf.Tensor:
        return tf.nn.bias_add(tf.nn.conv2d(images, kernel[None, None], 1, "VALID"), black)

    return convolve


def digest(network: keras.layers.Layer) -> str:
    """Returns a hash of a network's weights; see `Encoder.digest`."""
    sha = hashlib.sha256()
    for weight in network.weights:
        sha.update(np.ascontiguousarray(weight.numpy()).tobytes())
    return sha.hexdigest()[:32]


def _round_kernels(network: keras.layers.Layer) -> None:
    for weight in network.weights:
        if len(weight.shape) > 1:
            weight.assign(weight.numpy().astype(np.float16).astype(np.float32))


def build(config: ConfigDict, wanted: str = "") -> Encoder:
    """Builds the encoder that a config's `encoder` part describes; see `encoders.build`."""
    network, preprocess = networks.load(config)
    if config.tune_from:
        network, _ = split(network, config.tune_from)
    if wanted and digest(network) != wanted:
        _round_kernels(network)
    try:
        return Encoder(network, preprocess, config.image_size)
    except UserError:
        raise
    except ValueError as error:
        message = first_line(error)
        raise UserError(
            f"config.encoder.image_size={config.image_size} does not fit {config.name}: {message}"
        ) from error
