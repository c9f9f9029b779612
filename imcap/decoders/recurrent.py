"""Decoders whose LSTM reads only words once it has its initial state."""

from __future__ import annotations

import abc

import keras
import tensorflow as tf

from imcap.decoders.base import NO_DROPOUT, Decoder, Dropout, State, dense
from imcap.decoders.lstm import LstmLayers


class RecurrentDecoder(Decoder):
    """LSTM layers over the words, then an output layer.

    A subclass adds the weights, and says where the image enters: in the LSTM's initial state
    (`_start`), in the output vectors (`_output`), or nowhere.
    """

    lstm: LstmLayers
    output_kernel: keras.Variable  # [units, embedding_size]

    @abc.abstractmethod
    def _start(self, features: tf.Tensor, width: int, dropout: Dropout) -> tuple[State, State]:
        """Does what `start` does, in the dtype of the features."""

    def _output(self, hidden: tf.Tensor, memory: State, dropout: Dropout) -> tf.Tensor:
        """Returns output vectors, [batch, width, length, embedding_size].

        Args:
          hidden: of the last LSTM layer, [batch, width, length, units].
          memory: from `_start`.
          dropout: in training; `NO_DROPOUT` otherwise.
        """
        hidden = dropout(hidden, self.config.dropout)
        return dropout(dense(hidden, self.output_kernel), self.config.dropout)

    def start(self, features: tf.Tensor, width: int, dropout: Dropout) -> tuple[State, State]:
        """See `Decoder`."""
        return self._start(tf.cast(features, tf.float32), width, dropout)

    def output_vectors(self, features: tf.Tensor, tokens: tf.Tensor, dropout: Dropout) -> tf.Tensor:
        """See `Decoder`."""
        dtype = self._training_dtype
        memory, carry = self._start(tf.cast(features, dtype), tf.shape(tokens)[1], dropout)
        words = dropout(self.embed(tokens, dtype), self.config.embedding_dropout)
        return self._output(self.lstm.unroll(words, carry, dropout), memory, dropout)

    def step(self, tokens: tf.Tensor, memory: State, carry: State) -> tuple[tf.Tensor, State]:
        """See `Decoder`."""
        hidden, carry = self.lstm.step(self.embed(tokens, tf.float32), carry)
        vectors = self._output(hidden[:, :, tf.newaxis], memory, NO_DROPOUT)
        return self.logits(vectors[:, :, 0]), carry
