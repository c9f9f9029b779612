"""The LSTM layers of all decoders."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from imcap.decoders.base import NO_DROPOUT, Decoder, Dropout, State, dense


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
            new |= layer.advance(sums, carry, tf.cast(layer.recurrent_kernel, inputs.dtype))
            inputs = new[layer.hidden]
        return inputs, new

    def unroll(self, inputs: tf.Tensor, carry: State, dropout: Dropout) -> tf.Tensor:
        """Advances all layers over whole sequences, one layer after the other: the products with
        a layer's input kernel are one matrix product for all steps.

        Args:
          inputs: [batch, width, length, n].
          carry: tensors [batch, width, units] before the first step.
          dropout: in training; a mask of its own for each step.

        Returns:
          The last layer's hidden states, [batch, width, length, units] (the inputs, if there is no
          layer).
        """
        for layer in self._layers:
            inputs = layer.unroll(self._drop(layer, inputs, dropout), carry)
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
        self.hidden, self.cell = f"hidden{suffix}", f"cell{suffix}"  # The keys in the carry.
        self.word_kernel = decoder.kernel(f"word_kernel{suffix}", inputs, 4 * units)
        self.recurrent_kernel = decoder.kernel(f"recurrent_kernel{suffix}", units, 4 * units)
        self.bias = decoder.bias(f"lstm_bias{suffix}", 4 * units)

    def multiply(self, inputs: tf.Tensor) -> tf.Tensor:
        return dense(inputs, self.word_kernel, self.bias)

    def advance(self, sums: tf.Tensor, carry: State, recurrent_kernel: tf.Tensor) -> State:
        hidden, cell = update(sums + dense(carry[self.hidden], recurrent_kernel), carry[self.cell])
        return {self.hidden: hidden, self.cell: cell}

    def unroll(self, inputs: tf.Tensor, carry: State) -> tf.Tensor:
        kernel = tf.cast(self.recurrent_kernel, inputs.dtype)
        return unroll_lstm(self.multiply(inputs), carry[self.hidden], carry[self.cell], kernel)


def update(sums: tf.Tensor, cell: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """One LSTM update (Hochreiter and Schmidhuber, 1997).

    Args:
      sums: [..., 4 * units], of input gate, forget gate, candidate and output gate before their
        activations.
      cell: [..., units].

    Returns:
      The new hidden state and cell, [..., units] each.
    """
    input_gate, forget_gate, candidate, output_gate = tf.split(sums, 4, axis=-1)
    # The forget gate's bias starts at 1 (Jozefowicz et al., 2015), so that gradients pass through
    # many steps of an untrained cell.
    cell = tf.sigmoid(forget_gate + 1) * cell + tf.sigmoid(input_gate) * tf.tanh(candidate)
    return tf.sigmoid(output_gate) * tf.tanh(cell), cell


def unroll(
    advance: Callable[[tf.Tensor, State], State],
    inputs: tf.Tensor,
    carry: State,
    keep: tuple[str, ...],
) -> list[tf.Tensor]:
    """Runs `advance(input, carry) -> carry` over time.

    Args:
      inputs: [batch, width, length, n], one step's [batch, width, n] at a time.
      carry: tensors [batch, width, ...].
      keep: which of the carry's tensors to return for all steps.

    Returns:
      A list of [batch, width, length, ...].
    """
    steps = tf.shape(inputs)[2]
    by_time = tf.TensorArray(inputs.dtype, steps).unstack(tf.transpose(inputs, (2, 0, 1, 3)))
    kept = tuple(tf.TensorArray(carry[name].dtype, steps) for name in keep)

    def body(
        time: tf.Tensor, carry: State, kept: tuple[tf.TensorArray, ...]
    ) -> tuple[tf.Tensor, State, tuple[tf.TensorArray, ...]]:
        carry = advance(by_time.read(time), carry)
        kept = tuple(array.write(time, carry[name]) for array, name in zip(kept, keep, strict=True))
        return time + 1, carry, kept

    _, _, kept = tf.while_loop(
        lambda time, *_: time < steps, body, (0, carry, kept), maximum_iterations=steps
    )
    return [tf.transpose(array.stack(), (1, 2, 0, 3)) for array in kept]


def unroll_lstm(
    sums: tf.Tensor, hidden: tf.Tensor, cell: tf.Tensor, recurrent_kernel: tf.Tensor
) -> tf.Tensor:
    """Advances an LSTM over whole sequences.

    Its gradient is written out: automatic differentiation of the loop multiplies the states with
    the gates' gradients step by step and adds up the products, 4 * units**2 numbers each; here the
    recurrent kernel's gradient is one matrix product over all steps.

    Args:
      sums: [batch, width, length, 4 * units], the inputs' part of the gates, as for `update`.
      hidden, cell: [batch, width, units], before the first step.
      recurrent_kernel: [units, 4 * units].

    Returns:
      The hidden states, [batch, width, length, units].
    """
    batch, width, length, units = *tf.unstack(tf.shape(sums)[:3]), hidden.shape[-1]
    flat = tf.reshape(sums, [batch * width, length, 4 * units])
    rows = [tf.reshape(x, [batch * width, units]) for x in (hidden, cell)]
    states = _unroll_rows(tf.transpose(flat, (1, 0, 2)), *rows, recurrent_kernel)
    return tf.reshape(tf.transpose(states, (1, 0, 2)), [batch, width, length, units])


@tf.custom_gradient
def _unroll_rows(
    sums: tf.Tensor, hidden: tf.Tensor, cell: tf.Tensor, kernel: tf.Tensor
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, ...]]]:
    """[length, rows, 4 * units], [rows, units] twice and the kernel to [length, rows, units]."""

    def advance(sums: list[tf.Tensor], state: list[tf.Tensor]) -> tuple[list, list]:
        gates = sums[0] + tf.matmul(state[0], kernel)
        new = update(gates, state[1])
        return [*new], [*new, gates]

    _, (states, cells, gates) = _scan(advance, [sums], [hidden, cell], 3)

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, ...]:
        factors = _gate_derivatives(gates, cells, _shift(cells, cell))
        zeros = tf.zeros_like(hidden)

        def retreat(step: list[tf.Tensor], state: list[tf.Tensor]) -> tuple[list, list]:
            d_output, of_cell, of_output, from_hidden, forget = step
            d_hidden = d_output + state[0]
            d_cell = state[1] + d_hidden * from_hidden
            d_sums = tf.concat([tf.tile(d_cell, (1, 3)) * of_cell, d_hidden * of_output], axis=-1)
            d_hidden = tf.matmul(d_sums, kernel, transpose_b=True)
            return [d_hidden, d_cell * forget], [d_sums]

        (d_hidden, d_cell), (d_sums,) = _scan(
            retreat, [upstream, *factors], [zeros, zeros], 1, reverse=True
        )
        rows = tf.reshape(_shift(states, hidden), [-1, kernel.shape[0]])
        d_kernel = tf.matmul(rows, tf.reshape(d_sums, [-1, kernel.shape[1]]), transpose_a=True)
        return d_sums, d_hidden, d_cell, d_kernel

    return states, gradient


def _shift(x: tf.Tensor, first: tf.Tensor) -> tf.Tensor:
    """Each step's previous value: `first`, x[0], x[1], and so on."""
    return tf.concat([first[tf.newaxis], x[:-1]], axis=0)


def _gate_derivatives(
    gates: tf.Tensor, cells: tf.Tensor, previous: tf.Tensor
) -> tuple[tf.Tensor, ...]:
    """Returns the derivatives in `update`, for all steps at once.

    Those of the cell by the sums of input gate, forget gate and candidate; of the hidden state by
    the output gate's sum, and by the cell; of the cell by the previous cell.
    """
    input_gate, forget_gate, candidate, output_gate = tf.split(gates, 4, axis=-1)
    i, f, o = tf.sigmoid(input_gate), tf.sigmoid(forget_gate + 1), tf.sigmoid(output_gate)
    g, c = tf.tanh(candidate), tf.tanh(cells)
    of_cell = tf.concat([g * i * (1 - i), previous * f * (1 - f), i * (1 - g * g)], axis=-1)
    return of_cell, c * o * (1 - o), o * (1 - c * c), f


def _scan(
    advance: Callable[[list[tf.Tensor], list[tf.Tensor]], tuple[list[tf.Tensor], list[tf.Tensor]]],
    inputs: list[tf.Tensor],
    state: list[tf.Tensor],
    num_outputs: int,
    *,
    reverse: bool = False,
) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
    """Runs `advance(inputs of a step, state) -> state, outputs` over the first axis.

    Returns the last state, and the outputs of all steps, stacked.
    """
    steps = tf.shape(inputs[0])[0]
    arrays = [tf.TensorArray(x.dtype, steps).unstack(x) for x in inputs]
    outputs = [tf.TensorArray(inputs[0].dtype, steps) for _ in range(num_outputs)]

    def body(time, state, outputs):
        at = steps - 1 - time if reverse else time
        state, found = advance([x.read(at) for x in arrays], state)
        outputs = [x.write(at, y) for x, y in zip(outputs, found, strict=True)]
        return time + 1, state, outputs

    _, state, outputs = tf.while_loop(
        lambda time, *_: time < steps, body, (0, state, outputs), maximum_iterations=steps
    )
    return state, [x.stack() for x in outputs]
