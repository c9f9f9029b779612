"""Decoders whose LSTM reads only words once it has its initial state."""

from __future__ import annotations

import abc

import keras
import tensorflow as tf

from imcap.decoders.base import NO_DROPOUT, Decoder, Dropout, State, dense
from imcap.decoders.lstm import LstmLayers
from imcap.decoders.packing import Packing


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
        """Returns output vectors, [..., embedding_size].

        Args:
          hidden: of the last LSTM layer, [..., units].
          memory: from `_start`, with each image's part beside its hidden states.
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
        packing = Packing(tokens)
        memory, carry = self._start(tf.cast(features, dtype), packing.width, dropout)
        words = dropout(self.embed(packing.pack(tokens), dtype), self.config.embedding_dropout)
        hidden = self.lstm.unroll(packing, words, carry, dropout)
        memory = {key: tf.gather(value, packing.images) for key, value in memory.items()}
        return packing.unpack(self._output(hidden, memory, dropout))

    def step(self, tokens: tf.Tensor, memory: State, carry: State) -> tuple[tf.Tensor, State]:
        """See `Decoder`."""
        hidden, carry = self.lstm.step(self.embed(tokens, tf.float32), carry)
        memory = {key: value[:, tf.newaxis] for key, value in memory.items()}
        return self.logits(self._output(hidden, memory, NO_DROPOUT)), carry
