"""An LSTM whose first input is the image (Show and Tell; Vinyals et al., 2015)."""

from __future__ import annotations

import tensorflow as tf
from ml_collections import ConfigDict

from imcap.decoders.base import NO_DROPOUT, Decoder, Dropout, State, dense, lstm, repeat, unroll


class InjectDecoder(Decoder):
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
        units, size = config.units, config.embedding_size
        self.projection_kernel = self.kernel("projection_kernel", channels, size)
        self.projection_bias = self.bias("projection_bias", size)
        self.word_kernel = self.kernel("word_kernel", size, 4 * units)
        self.recurrent_kernel = self.kernel("recurrent_kernel", units, 4 * units)
        self.lstm_bias = self.bias("lstm_bias", 4 * units)
        self.output_kernel = self.kernel("output_kernel", units, size)

    def start(self, features: tf.Tensor, width: int, dropout: Dropout) -> tuple[State, State]:
        """See `Decoder`: the memory is empty, the image is in the carry."""
        return self._start(tf.cast(features, tf.float32), width, dropout)

    def _start(self, features: tf.Tensor, width: int, dropout: Dropout) -> tuple[State, State]:
        mean = tf.reduce_mean(features, axis=1)
        image = dropout(
            dense(mean, self.projection_kernel, self.projection_bias), self.config.feature_dropout
        )
        inputs = dense(image, self.word_kernel, self.lstm_bias)
        hidden, cell = lstm(inputs, tf.zeros([tf.shape(image)[0], self.config.units], image.dtype))
        return {}, {"hidden": repeat(hidden, width), "cell": repeat(cell, width)}

    def output_vectors(self, features: tf.Tensor, tokens: tf.Tensor, dropout: Dropout) -> tf.Tensor:
        """See `Decoder`."""
        dtype = self._training_dtype
        _, carry = self._start(tf.cast(features, dtype), tf.shape(tokens)[1], dropout)
        words = dropout(self.embed(tokens, dtype), self.config.embedding_dropout)
        inputs = dense(words, self.word_kernel, self.lstm_bias)
        kernel = tf.cast(self.recurrent_kernel, dtype)
        (hidden,) = unroll(
            lambda step_inputs, carry: self._advance(step_inputs, carry, kernel),
            inputs, carry, keep=("hidden",),
        )  # fmt: skip
        return self._output(hidden, dropout)

    def step(self, tokens: tf.Tensor, memory: State, carry: State) -> tuple[tf.Tensor, State]:
        """See `Decoder`."""
        inputs = dense(self.embed(tokens, tf.float32), self.word_kernel, self.lstm_bias)
        carry = self._advance(inputs, carry, tf.convert_to_tensor(self.recurrent_kernel))
        return self.logits(self._output(carry["hidden"], NO_DROPOUT)), carry

    def _advance(self, inputs: tf.Tensor, carry: State, recurrent_kernel: tf.Tensor) -> State:
        sums = inputs + dense(carry["hidden"], recurrent_kernel)
        hidden, cell = lstm(sums, carry["cell"])
        return {"hidden": hidden, "cell": cell}

    def _output(self, hidden: tf.Tensor, dropout: Dropout) -> tf.Tensor:
        hidden = dropout(hidden, self.config.dropout)
        return dropout(dense(hidden, self.output_kernel), self.config.dropout)
