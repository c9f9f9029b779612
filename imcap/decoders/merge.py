"""An LSTM over words, which meet the image after it (merge; Tanti et al., 2017)."""

from __future__ import annotations

import tensorflow as tf
from ml_collections import ConfigDict

from imcap.decoders.base import Dropout, State, dense
from imcap.decoders.lstm import LstmLayers
from imcap.decoders.recurrent import RecurrentDecoder


class MergeDecoder(RecurrentDecoder):
    """The image never enters the LSTM: the mean of the features, projected to `units`, is added to
    the LSTM's hidden states, and a layer with ReLU makes output vectors of the sums."""

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
        units, size = config.units, config.embedding_size
        self.projection_kernel = self.kernel("projection_kernel", channels, units)
        self.projection_bias = self.bias("projection_bias", units)
        self.lstm = LstmLayers(self)
        self.output_kernel = self.kernel("output_kernel", units, size)
        self.merge_bias = self.bias("merge_bias", size)

    def _start(self, features: tf.Tensor, width: int, dropout: Dropout) -> tuple[State, State]:
        """See `RecurrentDecoder`: the memory holds the projected image, [batch, units]."""
        mean = tf.reduce_mean(features, axis=1)
        image = tf.nn.relu(dense(mean, self.projection_kernel, self.projection_bias))
        image = dropout(image, self.config.feature_dropout)
        return {"image": image}, self.lstm.zeros([tf.shape(image)[0], width], image.dtype)

    def _output(self, hidden: tf.Tensor, memory: State, dropout: Dropout) -> tf.Tensor:
        """See `RecurrentDecoder`."""
        merged = dropout(hidden, self.config.dropout) + memory["image"]
        output = tf.nn.relu(dense(merged, self.output_kernel, self.merge_bias))
        return dropout(output, self.config.dropout)
