"""An LSTM whose first input is the image (Show and Tell; Vinyals et al., 2015)."""

from __future__ import annotations

import tensorflow as tf
from ml_collections import ConfigDict

from imcap.decoders.base import Dropout, State, dense, repeat
from imcap.decoders.lstm import LstmLayers
from imcap.decoders.recurrent import RecurrentDecoder


class InjectDecoder(RecurrentDecoder):
    """The mean of the features, projected to the size of a word, is the LSTM's first input."""

    def __init__(
        self,
        config: ConfigDict,
        vocab_size: int,
        channels: int,
        *,
        compute_dtype: str = "float32",
        seed: int = 0,
    ) -> None:
        """See `Decoder`."""
        super().__init__(config, vocab_size, channels, compute_dtype=compute_dtype, seed=seed)
        size = config.embedding_size
        self.projection_kernel = self.kernel("projection_kernel", channels, size)
        self.projection_bias = self.bias("projection_bias", size)
        self.lstm = LstmLayers(self)
        self.output_kernel = self.kernel("output_kernel", config.units, size)

    def _start(self, features: tf.Tensor, width: int, dropout: Dropout) -> tuple[State, State]:
        """See `RecurrentDecoder`: the memory is empty, the image is in the carry."""
        mean = tf.reduce_mean(features, axis=1)
        image = dropout(
            dense(mean, self.projection_kernel, self.projection_bias), self.config.feature_dropout
        )
        zeros = self.lstm.zeros([tf.shape(image)[0]], image.dtype)
        _, carry = self.lstm.step(image, zeros, dropout)
        return {}, {key: repeat(value, width) for key, value in carry.items()}
