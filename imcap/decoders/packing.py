"""Captions of different lengths without their padding, for training."""

from __future__ import annotations

import tensorflow as tf

_MULTIPLE = 32  # Sequences; so few different numbers of them that XLA compiles each once.


class Packing:
    """Which rows of [batch, width, length] are computed, and in which order.

    The sequences are sorted by falling length. The rows are those of the first step of all
    sequences, then those of the second step of the first `counts[1]` sequences, and so on: each
    step continues the first sequences of the step before it.

    Attributes:
      batch, width, length: int32 scalars.
      counts: int32 [length], sequences that have a token at that step, rounded up.
      offsets: int32 [length], rows before those of a step.
      images: int32 [rows], which image of the batch a row belongs to.
    """

    def __init__(self, tokens: tf.Tensor) -> None:
        """`tokens`: int32 [batch, width, length], 0 after a sequence's end."""
        self.batch, self.width, self.length = tf.unstack(tf.shape(tokens))
        num_sequences = self.batch * self.width
        lengths = tf.reshape(tf.math.count_nonzero(tokens, axis=-1, dtype=tf.int32), [-1])
        self._order = tf.argsort(lengths, direction="DESCENDING", stable=True)
        self._ranks = tf.math.invert_permutation(self._order)
        is_live = lengths > tf.range(self.length)[:, tf.newaxis]
        counts = tf.reduce_sum(tf.cast(is_live, tf.int32), axis=1)
        self.counts = tf.minimum(-(-counts // _MULTIPLE) * _MULTIPLE, num_sequences)
        self.offsets = tf.cumsum(self.counts, exclusive=True)
        is_computed = tf.sequence_mask(self.counts, num_sequences)
        self._times, self._row_ranks = tf.unstack(tf.cast(tf.where(is_computed), tf.int32), axis=1)
        sequences = tf.gather(self._order, self._row_ranks)
        self._positions = sequences * self.length + self._times
        self.images = sequences // self.width

    def pack(self, x: tf.Tensor) -> tf.Tensor:
        """[batch, width, length, ...] to [rows, ...]; sizes but the first three are static."""
        return tf.gather(tf.reshape(x, [-1, *x.shape[3:]]), self._positions)

    def unpack(self, x: tf.Tensor) -> tf.Tensor:
        """[rows, n] to [batch, width, length, n], with zeros where nothing was computed."""
        size = x.shape[-1]
        shape = [self.batch * self.width * self.length, size]
        flat = tf.scatter_nd(self._positions[:, tf.newaxis], x, shape)
        return tf.reshape(flat, [self.batch, self.width, self.length, size])

    def sort(self, x: tf.Tensor) -> tf.Tensor:
        """[batch, width, n], one row a sequence, to [sequences, n] by falling length."""
        return tf.gather(tf.reshape(x, [-1, x.shape[-1]]), self._order)

    def previous(self, x: tf.Tensor, first: tf.Tensor) -> tf.Tensor:
        """Returns each row's value one step earlier.

        Args:
          x: [rows, n], of all steps.
          first: [sequences, n], sorted, before the first step.
        """
        offsets = tf.concat([-tf.shape(first)[:1], self.offsets[:-1]], axis=0)
        rows = tf.gather(offsets, self._times) + self._row_ranks + tf.shape(first)[0]
        return tf.gather(tf.concat([first, x], axis=0), rows)

    def by_image(self, x: tf.Tensor) -> tf.Tensor:
        """A step's first sequences [n, units] to [batch, width, units]; zeros for the others."""
        padded = tf.pad(x, [[0, 1], [0, 0]])
        found = tf.gather(padded, tf.minimum(self._ranks, tf.shape(x)[0]))
        return tf.reshape(found, [self.batch, self.width, x.shape[-1]])

    def by_length(self, x: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        """[batch, width, units] to a step's first sequences, [count, units]."""
        return tf.gather(tf.reshape(x, [-1, x.shape[-1]]), self._order[:count])
