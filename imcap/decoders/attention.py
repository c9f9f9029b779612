"""An LSTM that looks at the photo's positions for each word (Xu et al., 2015), with a gate."""

from __future__ import annotations

import tensorflow as tf
from ml_collections import ConfigDict

from imcap.decoders.base import NO_DROPOUT, Decoder, Dropout, State, dense, lstm, repeat, unroll


class AttentionDecoder(Decoder):
    """Show, Attend and Tell's soft attention: the hidden state asks, a gate weighs the answer,
    and the answer enters the LSTM and the output layer.

    The scores are scaled dot products (Vaswani et al., 2017) instead of a small network: one
    matrix product for all captions of an image.
    """

    def __init__(
        self, config: ConfigDict, vocab_size: int, channels: int, compute_dtype: str = "float32"
    ) -> None:
        """See `Decoder`; the features are projected to `config.units` channels."""
        super().__init__(config, vocab_size, channels, compute_dtype)
        units, size = config.units, config.embedding_size
        self.project = self.weight("project", channels, units, seed=1)
        self.project_bias = self.weight("project_bias", units)
        self.begin = self.weight("begin", units, 2 * units, seed=2)
        self.ask = self.weight("ask", units, 2 * units, seed=3)
        self.word_kernel = self.weight("word_kernel", size, 4 * units, seed=4)
        self.recurrent_kernel = self.weight("recurrent_kernel", 2 * units, 4 * units, seed=5)
        self.lstm_bias = self.weight("lstm_bias", 4 * units)
        self.output_kernel = self.weight("output_kernel", 2 * units + size, size, seed=6)

    def start(self, features: tf.Tensor, width: int, dropout: Dropout) -> tuple[State, State]:
        """See `Decoder`: the memory holds the projected features, [batch, positions, units]."""
        return self._start(tf.cast(features, tf.float32), width, dropout)

    def _start(self, features: tf.Tensor, width: int, dropout: Dropout) -> tuple[State, State]:
        values = tf.nn.relu(dense(features, self.project, self.project_bias))
        values = dropout(values, self.config.feature_dropout)
        hidden, cell = tf.split(tf.tanh(dense(tf.reduce_mean(values, 1), self.begin)), 2, axis=-1)
        hidden = repeat(hidden, width)
        positions = tf.shape(values)[1]
        carry = {
            "hidden": hidden,
            "cell": repeat(cell, width),
            "context": tf.zeros_like(hidden),
            "attention": tf.zeros([*tf.unstack(tf.shape(hidden)[:2]), positions], hidden.dtype),
        }
        return {"values": values}, carry

    def hidden(self, features: tf.Tensor, tokens: tf.Tensor, dropout: Dropout) -> tf.Tensor:
        """See `Decoder`."""
        dtype = self._training_dtype
        memory, carry = self._start(tf.cast(features, dtype), tf.shape(tokens)[1], dropout)
        words = dropout(self.embed(tokens, dtype), self.config.embedding_dropout)
        inputs = dense(words, self.word_kernel, self.lstm_bias)
        kernels = self._kernels(dtype)
        hidden, context = unroll(
            lambda step_inputs, carry: self._advance(step_inputs, memory, carry, *kernels),
            inputs, carry, keep=("hidden", "context"),
        )  # fmt: skip
        return self._output(hidden, context, words, dropout)

    def step(self, tokens: tf.Tensor, memory: State, carry: State) -> tuple[tf.Tensor, State]:
        """See `Decoder`; the carry's `attention`, [batch, width, positions], is what this step
        looked at."""
        words = self.embed(tokens, tf.float32)
        inputs = dense(words, self.word_kernel, self.lstm_bias)
        carry = self._advance(inputs, memory, carry, *self._kernels(tf.float32))
        output = self._output(carry["hidden"], carry["context"], words, NO_DROPOUT)
        return self.logits(output), carry

    def _kernels(self, dtype: tf.DType) -> tuple[tf.Tensor, tf.Tensor]:
        """Casts once, outside of the loop over time."""
        return tf.cast(self.ask, dtype), tf.cast(self.recurrent_kernel, dtype)

    def _advance(self, inputs, memory, carry, ask, recurrent_kernel) -> State:
        query, gate = tf.split(dense(carry["hidden"], ask), 2, axis=-1)
        context, attention = attend(query, memory["values"], self.config.heads)
        context *= tf.sigmoid(gate)
        recurrent = dense(tf.concat([context, carry["hidden"]], -1), recurrent_kernel)
        hidden, cell = lstm(inputs + recurrent, carry["cell"])
        return {"hidden": hidden, "cell": cell, "context": context, "attention": attention}

    def _output(self, hidden, context, words, dropout: Dropout) -> tf.Tensor:
        hidden = dropout(hidden, self.config.dropout)
        output = tf.tanh(dense(tf.concat([hidden, context, words], -1), self.output_kernel))
        return dropout(output, self.config.dropout)


def attend(query: tf.Tensor, values: tf.Tensor, heads: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Scaled dot-product attention with the values as their own keys.

    Args:
      query: [batch, width, units].
      values: [batch, positions, units].
      heads: equal parts of the units that look on their own.

    Returns:
      The weighted values, [batch, width, units], and the weights averaged over the heads,
      [batch, width, positions].
    """
    units = values.shape[-1]
    scale = tf.cast((units // heads) ** -0.5, query.dtype)
    if heads == 1:
        weights = tf.nn.softmax(tf.matmul(query, values, transpose_b=True) * scale)
        return tf.matmul(weights, values), weights
    split = lambda x: tf.reshape(x, (tf.shape(x)[0], -1, heads, units // heads))  # noqa: E731
    scores = tf.einsum("bwhu,bphu->bhwp", split(query), split(values)) * scale
    weights = tf.nn.softmax(scores)
    answer = tf.einsum("bhwp,bphu->bwhu", weights, split(values))
    return tf.reshape(answer, tf.shape(query)), tf.reduce_mean(weights, axis=1)
