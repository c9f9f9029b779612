"""An LSTM with soft attention over the image's positions (Xu et al., 2015)."""

from __future__ import annotations

import tensorflow as tf
from ml_collections import ConfigDict

from imcap.decoders.base import NO_DROPOUT, Decoder, Dropout, State, dense, repeat
from imcap.decoders.lstm import LstmLayers, unroll, update


class AttentionDecoder(Decoder):
    """Show, Attend and Tell's soft attention: the hidden state is the query, a gate scales the
    context, and the context enters the LSTM and the output layer.

    The attention scores are scaled dot products (Vaswani et al., 2017) instead of a small network:
    one matrix product for all captions of an image. The first of several LSTM layers attends, and
    the context goes to the output layer, too (Wu et al., 2016).
    """

    def __init__(
        self,
        config: ConfigDict,
        vocab_size: int,
        channels: int,
        *,
        compute_dtype: str = "float32",
        seed: int = 0,
    ) -> None:
        """See `Decoder`; the features are projected to `config.units` channels."""
        super().__init__(config, vocab_size, channels, compute_dtype=compute_dtype, seed=seed)
        units, size = config.units, config.embedding_size
        self.projection_kernel = self.kernel("projection_kernel", channels, units)
        self.projection_bias = self.bias("projection_bias", units)
        self.init_kernel = self.kernel("init_kernel", units, 2 * units)
        # The name of a weight decides its initial values: this one is kept.
        self.query_gate_kernel = self.kernel("query_kernel", units, 2 * units)
        self.word_kernel = self.kernel("word_kernel", size, 4 * units)
        self.recurrent_kernel = self.kernel("recurrent_kernel", 2 * units, 4 * units)
        self.lstm_bias = self.bias("lstm_bias", 4 * units)
        self.upper_lstm = LstmLayers(self, first=2)
        self.output_kernel = self.kernel("output_kernel", 2 * units + size, size)

    def start(self, features: tf.Tensor, width: int, dropout: Dropout) -> tuple[State, State]:
        """See `Decoder`: the memory holds the projected features, [batch, positions, units]."""
        memory, carry = self._start(tf.cast(features, tf.float32), width, dropout)
        return memory, carry | self._start_upper(carry["hidden"])

    def _start(self, features: tf.Tensor, width: int, dropout: Dropout) -> tuple[State, State]:
        values = tf.nn.relu(dense(features, self.projection_kernel, self.projection_bias))
        values = dropout(values, self.config.feature_dropout)
        initial = tf.tanh(dense(tf.reduce_mean(values, axis=1), self.init_kernel))
        hidden, cell = tf.split(initial, 2, axis=-1)
        hidden = repeat(hidden, width)
        positions = tf.shape(values)[1]
        carry = {
            "hidden": hidden,
            "cell": repeat(cell, width),
            "context": tf.zeros_like(hidden),
            "attention": tf.zeros([*tf.unstack(tf.shape(hidden)[:2]), positions], hidden.dtype),
        }
        return {"values": values}, carry

    def _start_upper(self, hidden: tf.Tensor) -> State:
        return self.upper_lstm.zeros(tf.unstack(tf.shape(hidden)[:2]), hidden.dtype)

    def output_vectors(self, features: tf.Tensor, tokens: tf.Tensor, dropout: Dropout) -> tf.Tensor:
        """See `Decoder`."""
        dtype = self._training_dtype
        memory, carry = self._start(tf.cast(features, dtype), tf.shape(tokens)[1], dropout)
        words = dropout(self.embed(tokens, dtype), self.config.embedding_dropout)
        inputs = dense(words, self.word_kernel, self.lstm_bias)
        kernels = self._kernels(dtype)
        upper = self._start_upper(carry["hidden"])
        hidden, context = unroll(
            lambda step_inputs, carry: self._advance(step_inputs, memory, carry, *kernels),
            inputs, carry, keep=("hidden", "context"),
        )  # fmt: skip
        hidden = self.upper_lstm.unroll(hidden, upper, dropout)
        return self._output(hidden, context, words, dropout)

    def step(self, tokens: tf.Tensor, memory: State, carry: State) -> tuple[tf.Tensor, State]:
        """See `Decoder`; the carry's `attention`, [batch, width, positions], is the weights of
        this step."""
        words = self.embed(tokens, tf.float32)
        inputs = dense(words, self.word_kernel, self.lstm_bias)
        first = self._advance(inputs, memory, carry, *self._kernels(tf.float32))
        hidden, upper = self.upper_lstm.step(first["hidden"], carry)
        output = self._output(hidden, first["context"], words, NO_DROPOUT)
        return self.logits(output), first | upper

    def _kernels(self, dtype: tf.DType) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the kernels of `_advance`, cast once instead of in each step of the loop."""
        return tf.cast(self.query_gate_kernel, dtype), tf.cast(self.recurrent_kernel, dtype)

    def _advance(
        self,
        inputs: tf.Tensor,
        memory: State,
        carry: State,
        query_gate_kernel: tf.Tensor,
        recurrent_kernel: tf.Tensor,
    ) -> State:
        query, gate = tf.split(dense(carry["hidden"], query_gate_kernel), 2, axis=-1)
        context, attention = attend(query, memory["values"], self.config.heads)
        context *= tf.sigmoid(gate)
        recurrent = dense(tf.concat([context, carry["hidden"]], -1), recurrent_kernel)
        hidden, cell = update(inputs + recurrent, carry["cell"])
        return {"hidden": hidden, "cell": cell, "context": context, "attention": attention}

    def _output(
        self, hidden: tf.Tensor, context: tf.Tensor, words: tf.Tensor, dropout: Dropout
    ) -> tf.Tensor:
        hidden = dropout(hidden, self.config.dropout)
        output = tf.tanh(dense(tf.concat([hidden, context, words], -1), self.output_kernel))
        return dropout(output, self.config.dropout)


def attend(query: tf.Tensor, values: tf.Tensor, heads: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Scaled dot-product attention with the values as their own keys.

    Args:
      query: [batch, width, units].
      values: [batch, positions, units].
      heads: number of equal parts of the units, each with weights of its own.

    Returns:
      The weighted values, [batch, width, units], and the weights averaged over the heads,
      [batch, width, positions].
    """
    units = values.shape[-1]
    scale = tf.cast((units // heads) ** -0.5, query.dtype)
    if heads == 1:
        weights = tf.nn.softmax(tf.matmul(query, values, transpose_b=True) * scale)
        return tf.matmul(weights, values), weights

    def split(x: tf.Tensor) -> tf.Tensor:
        return tf.reshape(x, (tf.shape(x)[0], -1, heads, units // heads))

    scores = tf.einsum("bwhu,bphu->bhwp", split(query), split(values)) * scale
    weights = tf.nn.softmax(scores)
    context = tf.einsum("bhwp,bphu->bwhu", weights, split(values))
    return tf.reshape(context, tf.shape(query)), tf.reduce_mean(weights, axis=1)
