"""The layers of an encoder above those that records hold the output of: trained with a decoder.

Batch normalizations keep the statistics, scales and offsets that they have: folded into the
convolutions before them where that is possible, otherwise frozen.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from imcap.encoders import batch_norm_folding, conv_add_fusion, encoder, networks
from imcap.encoders.split import split

_POLICIES = {
    "float32": "float32",
    "bfloat16": "mixed_bfloat16",
    "float16": "mixed_float16",
}


class UpperLayers(keras.layers.Layer):
    """A network from the features of records to those that a decoder reads.

    Attributes:
      feature_grid: (rows, columns) of the positions of what it returns; (1, positions) where they
        are no grid.
      channels: of what it returns.
      num_weights: how many numbers its weights are.
    """

    def __init__(
        self,
        network: keras.Model,
        grid: tuple[int, int],
        *,
        compute_dtype: str = "float32",
        trainable: bool = True,
    ) -> None:
        """Creates weights with the values that a network has.

        Args:
          network: from `load`; it is not changed.
          grid: (rows, columns) of the records' positions.
          compute_dtype: of the products; weights stay float32.
          trainable: whether the weights are trained, but those of normalizations that were not
            folded.
        """
        super().__init__(name="upper_layers", autocast=False)
        self._shape = (*grid, network.inputs[0].shape[-1])
        self._network = conv_add_fusion.guard(_copy(network, _POLICIES[compute_dtype]))
        _set_trainable(self._network, trainable)
        shape = network.compute_output_shape((None, *self._shape))[1:]
        positions = int(np.prod(shape[:-1])) if len(shape) > 1 else 1
        self.feature_grid = tuple(shape[:-1]) if len(shape) == 3 else (1, positions)
        self.channels = int(shape[-1])
        self.num_weights = sum(int(np.prod(weight.shape)) for weight in self._network.weights)

    def digest(self) -> str:
        """Returns a hash of the weights."""
        return encoder.digest(self)

    def call(self, features: tf.Tensor) -> tf.Tensor:
        """Records' features [batch, positions, channels] to [batch, positions, channels]."""
        outputs = self._network(tf.reshape(features, (-1, *self._shape)), training=False)
        return tf.reshape(outputs, (tf.shape(features)[0], -1, self.channels))


def load(config: ConfigDict, *, pretrained: bool = True) -> tuple[keras.Model, str]:
    """Returns the layers above `tune_from`, folded, and the digest of those below.

    Args:
      config: a config's `encoder` part, with a `tune_from`.
      pretrained: whether to read the file of the weights; a saved Keras file is always read.

    Raises:
      UserError: as `networks.load` and `split`.
    """
    if not pretrained:
        config = ConfigDict({**config.to_dict(), "weights": ""})
    network, _ = networks.load(config)
    lower, upper = split(network, config.tune_from)
    return batch_norm_folding.fold(upper), encoder.digest(lower)


def _copy(network: keras.Model, policy: str) -> keras.Model:
    """Returns a network of another dtype policy with the same weights, in variables of its own."""

    def clone(layer: Any) -> Any:
        if not isinstance(layer, keras.layers.Layer):
            return layer  # An operation, such as `+`, which has no weights.
        # Variables that are made as not trainable are watched by no gradient tape later on.
        config = {**layer.get_config(), "dtype": policy, "trainable": True}
        return type(layer).from_config(config)

    copy = keras.models.clone_model(network, clone_function=clone)
    for layer in network.layers:
        if layer.weights:
            copy.get_layer(layer.name).set_weights(layer.get_weights())
    return copy


def _set_trainable(network: keras.Model, trainable: bool) -> None:
    network.trainable = trainable
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
