"""Recurrences over whole sequences in training, with gradients that are written out.

Automatic differentiation of a loop multiplies each step's states with the gradients of what they
were multiplied into, and adds up the products: for the recurrent kernel 4 * units ** 2 numbers at
every step. Here the gradient's loop only passes back what the previous step needs, and each
kernel's gradient is one matrix product over all steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from imcap.decoders.cells import (
    attend,
    backward_context,
    backward_softmax,
    backward_update,
    join_heads,
    split_heads,
    update,
)
from imcap.decoders.packing import Packing

Tensors = list[tf.Tensor]
Shape = tuple[int | None, ...]
Memory = tuple[tf.Tensor, tf.Tensor]


def unroll_lstm(
    packing: Packing, inputs: tf.Tensor, start: tuple[tf.Tensor, tf.Tensor], kernel: tf.Tensor
) -> tf.Tensor:
    """Advances an LSTM over whole sequences.

    Args:
      packing: of the sequences.
      inputs: [rows, 4 * units], the inputs' part of `update`'s sums.
      start: hidden state and cell before the first step, [batch, width, units] each.
      kernel: the recurrent one, [units, 4 * units].

    Returns:
      The hidden states, [rows, units].
    """

    def unroll(
        inputs: tf.Tensor, hidden: tf.Tensor, cell: tf.Tensor, kernel: tf.Tensor
    ) -> tuple[tf.Tensor, Callable[[tf.Tensor], Tensors]]:
        def advance(count: tf.Tensor, step: Tensors, state: Tensors) -> tuple[Tensors, Tensors]:
            sums = step[0] + tf.matmul(state[0], kernel)
            state = list(update(sums, state[1]))
            return state, [*state, sums]

        def gradient(upstream: tf.Tensor) -> Tensors:
            def backward(
                count: tf.Tensor, step: Tensors, state: Tensors
            ) -> tuple[Tensors, Tensors]:
                d_sums, d_cell = backward_update(state[0], *step, state[1])
                return [_input_gradient(d_sums, kernel), d_cell], [d_sums]

            rows = [upstream, sums, cells, packing.previous(cells, cell)]
            state, (d_sums,) = _scan_back(
                packing, backward, rows, like=hidden, outputs=[_rows(kernel.shape[1])]
            )
            previous = packing.previous(states, hidden)
            return [d_sums, *state, tf.matmul(previous, d_sums, transpose_a=True)]

        shapes = [_rows(x.shape[1]) for x in (hidden, cell, inputs)]
        states, cells, sums = _scan(packing, advance, [inputs], [hidden, cell], outputs=shapes)
        return states, gradient

    return tf.custom_gradient(unroll)(inputs, *map(packing.sort, start), kernel)


class _AttentionRows(NamedTuple):
    """What a step of `unroll_attention` gives for each sequence, [n, units] but for the sums."""

    hidden: tf.Tensor
    cell: tf.Tensor
    context: tf.Tensor
    sums: tf.Tensor
    gate: tf.Tensor  # Before its sigmoid.
    attended: tf.Tensor  # The context before it is gated.


def unroll_attention(
    packing: Packing,
    inputs: tf.Tensor,
    start: tuple[tf.Tensor, tf.Tensor],
    memory: Memory,
    kernels: tuple[tf.Tensor, tf.Tensor],
) -> tuple[tf.Tensor, tf.Tensor]:
    """Advances over whole sequences an LSTM whose sums contain the context that it attends to.

    Args:
      packing: of the sequences.
      inputs: [rows, 4 * units], the inputs' part of `update`'s sums.
      start: hidden state and cell before the first step, [batch, width, units] each.
      memory: keys and values, [batch, heads, positions, units / heads] each.
      kernels: of query and gate, [units, 2 * units], which the hidden state is multiplied with, and
        the recurrent one, [2 * units, 4 * units], for context and hidden state.

    Returns:
      The hidden states and the gated contexts, [rows, units] each.
    """

    def unroll(
        inputs: tf.Tensor,
        hidden: tf.Tensor,
        cell: tf.Tensor,
        keys: tf.Tensor,
        values: tf.Tensor,
        query_kernel: tf.Tensor,
        kernel: tf.Tensor,
    ) -> tuple[tuple[tf.Tensor, tf.Tensor], Callable[[tf.Tensor, tf.Tensor], Tensors]]:
        heads, units = keys.shape[1], hidden.shape[1]

        def advance(count: tf.Tensor, step: Tensors, state: Tensors) -> tuple[Tensors, Tensors]:
            query, gate = tf.split(tf.matmul(state[0], query_kernel), 2, axis=-1)
            query = split_heads(packing.by_image(query), heads)
            found, weights = attend(query, keys, values)
            attended = packing.by_length(join_heads(found), count)
            context = attended * tf.sigmoid(gate)
            sums = step[0] + tf.matmul(tf.concat([context, state[0]], -1), kernel)
            state = list(update(sums, state[1]))
            return state, [*state, context, sums, gate, attended, query, weights]

        def backward(count: tf.Tensor, step: Tensors, state: Tensors) -> tuple[Tensors, Tensors]:
            of_hidden, of_context, gate, attended, *cells, weights = step
            d_sums, d_cell = backward_update(state[0], of_hidden, *cells, state[1])
            d_context, d_hidden = tf.split(_input_gradient(d_sums, kernel), 2, axis=-1)
            d_attended, d_gate = backward_context(d_context, of_context, gate, attended)
            d_attended = split_heads(packing.by_image(d_attended), heads)
            d_weights = tf.matmul(d_attended, values, transpose_b=True)
            d_scores = backward_softmax(d_weights, weights, keys.shape[-1])
            d_query = packing.by_length(join_heads(tf.matmul(d_scores, keys)), count)
            d_query_gate = tf.concat([d_query, d_gate], axis=-1)
            d_hidden += _input_gradient(d_query_gate, query_kernel)
            return [d_hidden, d_cell], [d_sums, d_query_gate, d_attended, d_scores]

        def gradient(of_hidden: tf.Tensor, of_context: tf.Tensor) -> Tensors:
            cells = [rows.sums, rows.cell, packing.previous(rows.cell, cell)]
            inputs = [of_hidden, of_context, rows.gate, rows.attended, *cells]
            shapes = [_rows(4 * units), _rows(2 * units), by_head, by_head]
            state, (d_sums, d_query_gate, d_attended, d_scores) = _scan_back(
                packing, backward, inputs, [weights], like=hidden, outputs=shapes
            )
            previous = packing.previous(rows.hidden, hidden)
            of_kernel = [tf.matmul(x, d_sums, transpose_a=True) for x in (rows.context, previous)]
            return [
                d_sums,
                *state,
                _sum_over_steps(d_scores, queries),
                _sum_over_steps(weights, d_attended),
                tf.matmul(previous, d_query_gate, transpose_a=True),
                tf.concat(of_kernel, axis=0),
            ]

        by_head = (None, heads, None, None)
        sizes = [units, units, units, 4 * units, units, units]
        shapes = [*map(_rows, sizes), by_head, by_head]
        *found, queries, weights = _scan(packing, advance, [inputs], [hidden, cell], outputs=shapes)
        rows = _AttentionRows(*found)
        return (rows.hidden, rows.context), gradient

    return tf.custom_gradient(unroll)(inputs, *map(packing.sort, start), *memory, *kernels)


def _input_gradient(gradient: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Returns the gradient of x from that of `tf.matmul(x, kernel)`."""
    return tf.matmul(gradient, kernel, transpose_b=True)


def _sum_over_steps(weights: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """Sums x [length, batch, heads, width, n] by weights [length, batch, heads, width, positions],
    over length and width, to [batch, heads, positions, n]."""

    def rows(y: tf.Tensor) -> tf.Tensor:
        y = tf.transpose(y, (1, 2, 0, 3, 4))
        batch, heads, length, width, size = tf.unstack(tf.shape(y))
        return tf.reshape(y, [batch, heads, length * width, size])

    return tf.matmul(rows(weights), rows(x), transpose_a=True)


def _scan(
    packing: Packing,
    advance: Callable[[tf.Tensor, Tensors, Tensors], tuple[Tensors, Tensors]],
    rows: Tensors,
    state: Tensors,
    *,
    outputs: list[Shape],
) -> Tensors:
    """Runs `advance(count, rows of a step, state) -> state, outputs` from the first step on.

    Args:
      packing: of the sequences; `count` of them have the step.
      advance: its state is [count, n] each.
      rows: [rows, n] each.
      state: before the first step, [sequences, n] each.
      outputs: static shapes of a step's outputs: [n, size], a row for each of the step's sequences,
        or of rank 4, for all of the batch.

    Returns:
      The outputs of all steps: [rows, size], or [length, ...].
    """

    def body(
        time: tf.Tensor, state: Tensors, arrays: list[tf.TensorArray]
    ) -> tuple[tf.Tensor, Tensors, list[tf.TensorArray]]:
        count = packing.counts[time]
        state, found = advance(
            count, _rows_of_step(packing, rows, time), [x[:count] for x in state]
        )
        return time + 1, state, [x.write(time, y) for x, y in zip(arrays, found, strict=True)]

    _, _, arrays = tf.while_loop(
        lambda time, *_: time < packing.length,
        body,
        (0, state, _arrays(packing, state[0].dtype, len(outputs))),
        shape_invariants=_invariants(state, len(outputs)),
        maximum_iterations=packing.length,
    )
    return _read(arrays, outputs)


def _scan_back(
    packing: Packing,
    backward: Callable[[tf.Tensor, Tensors, Tensors], tuple[Tensors, Tensors]],
    rows: Tensors,
    stacks: Tensors | None = None,
    *,
    like: tf.Tensor,
    outputs: list[Shape],
) -> tuple[Tensors, Tensors]:
    """Runs `backward(count, rows and stacks of a step, state) -> state, outputs` from the last step
    to the first; its two states [count, n] begin with zeros.

    Args: as `_scan`'s; `stacks` are [length, ...], and the states are as large as `like`.

    Returns:
      The states before the first step, and the outputs as `_scan` returns them.
    """

    def grow(x: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        return tf.pad(x, [[0, count - tf.shape(x)[0]], [0, 0]])

    def body(
        steps: tf.Tensor, state: Tensors, arrays: list[tf.TensorArray]
    ) -> tuple[tf.Tensor, Tensors, list[tf.TensorArray]]:
        time = packing.length - 1 - steps
        count = packing.counts[time]
        step = _rows_of_step(packing, rows, time) + [x[time] for x in stacks or []]
        state, found = backward(count, step, [grow(x, count) for x in state])
        return steps + 1, state, [x.write(time, y) for x, y in zip(arrays, found, strict=True)]

    state = [tf.zeros_like(like[:0])] * 2
    _, state, arrays = tf.while_loop(
        lambda steps, *_: steps < packing.length,
        body,
        (0, state, _arrays(packing, like.dtype, len(outputs))),
        shape_invariants=_invariants(state, len(outputs)),
        maximum_iterations=packing.length,
    )
    return [grow(x, tf.shape(like)[0]) for x in state], _read(arrays, outputs)


def _rows_of_step(packing: Packing, rows: Tensors, time: tf.Tensor) -> Tensors:
    start, count = packing.offsets[time], packing.counts[time]
    return [x[start : start + count] for x in rows]


def _arrays(packing: Packing, dtype: tf.DType, number: int) -> list[tf.TensorArray]:
    return [tf.TensorArray(dtype, packing.length, infer_shape=False) for _ in range(number)]


def _invariants(state: Tensors, num_arrays: int) -> tuple[tf.TensorShape, list, list]:
    sizes = [tf.TensorShape([None, x.shape[-1]]) for x in state]
    return tf.TensorShape([]), sizes, [tf.TensorShape(None)] * num_arrays


def _read(arrays: list[tf.TensorArray], shapes: list[Shape]) -> Tensors:
    def read(array: tf.TensorArray, shape: Shape) -> tf.Tensor:
        if len(shape) == 2:
            return tf.ensure_shape(array.concat(), shape)
        return tf.ensure_shape(array.stack(), (None, *shape))

    return [read(array, shape) for array, shape in zip(arrays, shapes, strict=True)]


def _rows(size: int) -> Shape:
    return None, size
