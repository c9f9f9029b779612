"""The attention decoder's step for few sequences.

It takes as long as its weights are read and its threads waited for. So the kernels are cut into
blocks, a single image's attention has no batched products, and the softmax of a few numbers is no
oneDNN operation. The results are those of the plain step but for rounding.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from imcap.decoders.cells import join_heads, split_heads, update_gates
from imcap.decoders.weight_blocks import WeightBlocks


class Weights(NamedTuple):
    """What an attention decoder's step multiplies with.

    Attributes:
      query_gate: [units, 2 * units], of the query and of the context's gate.
      word: [embedding_size, 4 * units], of the word in the LSTM's sums.
      bias: [4 * units], of the LSTM's sums.
      recurrent: [2 * units, 4 * units], of the context and the hidden state in the sums.
      output: [2 * units + embedding_size, embedding_size], of hidden state, context and word.
      logits: [embedding_size, vocab_size].
      logits_bias: [vocab_size].
    """

    query_gate: tf.Tensor
    word: tf.Tensor
    bias: tf.Tensor
    recurrent: tf.Tensor
    output: tf.Tensor
    logits: tf.Tensor
    logits_bias: tf.Tensor


class PreparedAttention(tf.Module):
    """Copies of an attention decoder's weights, and what a step does with them."""

    def __init__(self, weights: Weights, heads: int) -> None:
        """Copies the weights; `heads`: of the attention."""
        super().__init__()
        self._heads = heads
        of_context, of_hidden = tf.split(weights.recurrent, 2, axis=0)
        self._query_gate = WeightBlocks(weights.query_gate, groups=2)
        self._word = WeightBlocks(weights.word, weights.bias, groups=4)
        self._context = WeightBlocks(of_context, groups=4)
        self._hidden = WeightBlocks(of_hidden, groups=4)
        self._output = WeightBlocks(weights.output)
        self._logits = WeightBlocks(weights.logits, weights.logits_bias)

    def advance(
        self,
        words: tf.Tensor,
        memory: tuple[tf.Tensor, tf.Tensor],
        hidden: tf.Tensor,
        cell: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """Attends and advances the LSTM.

        Args:
          words: [batch * width, embedding_size].
          memory: keys and values, [batch, heads, positions, units / heads] each.
          hidden, cell: [batch, width, units].

        Returns:
          The new hidden state, the new cell and the context, [batch * width, units] each, and the
          attention weights [batch, heads, width, positions].
        """
        units = hidden.shape[-1]
        flat = tf.reshape(hidden, (-1, units))
        query, gate = self._query_gate(flat)
        query = split_heads(tf.reshape(query, tf.shape(hidden)), self._heads)
        attended, weights = _attend(query, *memory)
        context = tf.reshape(join_heads(attended), (-1, units)) * tf.sigmoid(gate)
        parts = zip(self._word(words), self._hidden(flat), self._context(context), strict=True)
        sums = [tf.add_n(part) for part in parts]
        return *update_gates(sums, tf.reshape(cell, (-1, units))), context, weights

    def logits(self, hidden: tf.Tensor, context: tf.Tensor, words: tf.Tensor) -> tf.Tensor:
        """Returns float32 [rows, vocab_size].

        Args:
          hidden: of the last LSTM layer, [rows, units].
          context: [rows, units].
          words: [rows, embedding_size].
        """
        (output,) = self._output(tf.concat([hidden, context, words], axis=1))
        (logits,) = self._logits(tf.tanh(output))
        return logits


def _attend(query: tf.Tensor, keys: tf.Tensor, values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Does what `cells.attend` does."""
    scale = keys.shape[-1] ** -0.5

    def attend_one() -> tuple[tf.Tensor, tf.Tensor]:
        weights = _softmax(tf.matmul(query[0, 0], keys[0, 0], transpose_b=True) * scale)
        attended = tf.matmul(weights, values[0, 0])
        return attended[tf.newaxis, tf.newaxis], weights[tf.newaxis, tf.newaxis]

    def attend_all() -> tuple[tf.Tensor, tf.Tensor]:
        weights = _softmax(tf.matmul(query, keys, transpose_b=True) * scale)
        return tf.matmul(weights, values), weights

    if keys.shape[1] > 1:
        return attend_all()
    # A batched product of one pair of matrices takes five times as long as their own.
    return tf.cond(tf.shape(query)[0] == 1, attend_one, attend_all)


def _softmax(x: tf.Tensor) -> tf.Tensor:
    # oneDNN's softmax takes 50 us for a few rows, this 5.
    return tf.exp(tf.nn.log_softmax(x))
