"""The LSTM layers of all decoders."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from imcap.decoders.base import NO_DROPOUT, Decoder, Dropout, State, dense
from imcap.decoders.cells import update
from imcap.decoders.packing import Packing
from imcap.decoders.unrolling import unroll_lstm


class LstmLayers(tf.Module):
    """LSTM layers, each but the first over the hidden states of the one below it, with dropout in
    between (Zaremba et al., 2014)."""

    def __init__(self, decoder: Decoder, first: int = 1) -> None:
        """Adds the layers' weights to a decoder.

        Args:
          decoder: its config has their number, units and dropout. The first layer's inputs are as
            large as a word vector.
          first: 2 for a decoder with a first layer of its own, which gives the inputs then.
        """
        super().__init__()
        self._units, self._dropout = decoder.config.units, decoder.config.dropout
        self._layers = [_Layer(decoder, n) for n in range(first, decoder.config.layers + 1)]

    def zeros(self, shape: Sequence[int | tf.Tensor], dtype: tf.DType) -> State:
        """Returns the carry before the first input.

        Args:
          shape: of the carry's tensors without their last axis, `units`.
          dtype: of the inputs.

        Returns:
          `hidden` and `cell` of the first layer, `hidden_2` and `cell_2` of the second, and so on.
        """
        zeros = tf.zeros([*shape, self._units], dtype)
        return {key: zeros for layer in self._layers for key in (layer.hidden, layer.cell)}

    def step(
        self, inputs: tf.Tensor, carry: State, dropout: Dropout = NO_DROPOUT
    ) -> tuple[tf.Tensor, State]:
        """Advances all layers by one input.

        Args:
          inputs: [..., n].
          carry: tensors [..., units]; keys of others are ignored.
          dropout: in training.

        Returns:
          The last layer's hidden state, [..., units] (the inputs, if there is no layer), and the
          new carry of these layers.
        """
        new: State = {}
        for layer in self._layers:
            sums = layer.multiply(self._drop(layer, inputs, dropout))
            new |= layer.advance(sums, carry)
            inputs = new[layer.hidden]
        return inputs, new

    def unroll(
        self, packing: Packing, inputs: tf.Tensor, carry: State, dropout: Dropout
    ) -> tf.Tensor:
        """Advances all layers over whole sequences, one layer after the other: the products with
        a layer's input kernel are one matrix product for all steps.

        Args:
          packing: of the sequences.
          inputs: [rows, n].
          carry: tensors [batch, width, units] before the first step.
          dropout: in training; a mask of its own for each step.

        Returns:
          The last layer's hidden states, [rows, units] (the inputs, if there is no layer).
        """
        for layer in self._layers:
            inputs = layer.unroll(packing, self._drop(layer, inputs, dropout), carry, dropout)
        return inputs

    def _drop(self, layer: _Layer, inputs: tf.Tensor, dropout: Dropout) -> tf.Tensor:
        return dropout(inputs, self._dropout) if layer.number > 1 else inputs


class _Layer(tf.Module):
    """One layer; a module, as a SavedModel finds only the variables that modules hold."""

    def __init__(self, decoder: Decoder, number: int) -> None:
        super().__init__()
        units, size = decoder.config.units, decoder.config.embedding_size
        # Checkpoints of one layer have names without a number.
        suffix = f"_{number}" if number > 1 else ""
        inputs = units if number > 1 else size
        self.number = number
        self._weight_drop = decoder.config.weight_drop
        self.hidden, self.cell = f"hidden{suffix}", f"cell{suffix}"  # The keys in the carry.
        self.word_kernel = decoder.kernel(f"word_kernel{suffix}", inputs, 4 * units)
        self.recurrent_kernel = decoder.kernel(f"recurrent_kernel{suffix}", units, 4 * units)
        self.bias = decoder.bias(f"lstm_bias{suffix}", 4 * units)

    def multiply(self, inputs: tf.Tensor) -> tf.Tensor:
        return dense(inputs, self.word_kernel, self.bias)

    def advance(self, sums: tf.Tensor, carry: State) -> State:
        sums += dense(carry[self.hidden], self.recurrent_kernel)
        hidden, cell = update(sums, carry[self.cell])
        return {self.hidden: hidden, self.cell: cell}

    def unroll(
        self, packing: Packing, inputs: tf.Tensor, carry: State, dropout: Dropout
    ) -> tf.Tensor:
        kernel = dropout(tf.cast(self.recurrent_kernel, inputs.dtype), self._weight_drop)
        start = carry[self.hidden], carry[self.cell]
        return unroll_lstm(packing, self.multiply(inputs), start, kernel)
