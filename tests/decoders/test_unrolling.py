"""Recurrences over packed sequences against automatic differentiation of single steps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from imcap.decoders.cells import attend, join_heads, split_heads, update
from imcap.decoders.packing import Packing
from imcap.decoders.unrolling import unroll_attention, unroll_lstm

BATCH, WIDTH, LENGTH, UNITS, POSITIONS = 15, 5, 6, 8, 4
Tensors = list[tf.Tensor]


def make_tokens() -> np.ndarray:
    """Sequences of all lengths, so many that they are packed into fewer and fewer rows."""
    lengths = np.random.default_rng(0).integers(0, LENGTH + 1, (BATCH, WIDTH, 1))
    return (np.arange(LENGTH) < lengths).astype(np.int32)


def make(seed: int, *shape: int) -> tf.Tensor:
    return tf.random.stateless_normal(shape, [seed, 0], stddev=0.7)


def gradients(function: Callable[..., Tensors], arguments: Tensors) -> tuple[Tensors, Tensors]:
    """Returns the results and the arguments' gradients of a weighted sum of their live rows."""
    live = tf.cast(make_tokens(), tf.float32)[..., tf.newaxis]
    with tf.GradientTape() as tape:
        tape.watch(arguments)
        results = [result * live for result in function(*arguments)]
        weights = [make(90 + n, *result.shape) for n, result in enumerate(results)]
        total = tf.add_n([tf.reduce_sum(x * y) for x, y in zip(results, weights, strict=True)])
    return results, tape.gradient(total, arguments)


def assert_same(found: Callable[..., Tensors], expected: Callable[..., Tensors], *shapes) -> None:
    arguments = [make(n, *shape) for n, shape in enumerate(shapes)]
    (results, slopes), (others, other_slopes) = (gradients(f, arguments) for f in (found, expected))
    for one, other in zip([*results, *slopes], [*others, *other_slopes], strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)


SEQUENCES = [(BATCH, WIDTH, LENGTH, 4 * UNITS), (BATCH, WIDTH, UNITS), (BATCH, WIDTH, UNITS)]


def test_lstm_over_packed_sequences():
    def packed(inputs, hidden, cell, kernel):
        packing = Packing(tf.constant(make_tokens()))
        return [packing.unpack(unroll_lstm(packing, packing.pack(inputs), (hidden, cell), kernel))]

    def stepped(inputs, hidden, cell, kernel):
        states = []
        for time in range(LENGTH):
            hidden, cell = update(inputs[:, :, time] + tf.matmul(hidden, kernel), cell)
            states.append(hidden)
        return [tf.stack(states, axis=2)]

    assert_same(tf.function(packed, autograph=False), stepped, *SEQUENCES, (UNITS, 4 * UNITS))


@pytest.mark.parametrize("heads", [1, 2])
def test_attention_over_packed_sequences(heads):
    memory = (BATCH, heads, POSITIONS, UNITS // heads)
    kernels = [(UNITS, 2 * UNITS), (2 * UNITS, 4 * UNITS)]

    def packed(inputs, hidden, cell, keys, values, *kernels):
        packing = Packing(tf.constant(make_tokens()))
        rows, start = packing.pack(inputs), (hidden, cell)
        found = unroll_attention(packing, rows, start, (keys, values), kernels)
        return [packing.unpack(x) for x in found]

    def stepped(inputs, hidden, cell, keys, values, query_kernel, kernel):
        states, contexts = [], []
        for time in range(LENGTH):
            query, gate = tf.split(tf.matmul(hidden, query_kernel), 2, axis=-1)
            attended, _ = attend(split_heads(query, heads), keys, values)
            context = join_heads(attended) * tf.sigmoid(gate)
            sums = inputs[:, :, time] + tf.matmul(tf.concat([context, hidden], -1), kernel)
            hidden, cell = update(sums, cell)
            states.append(hidden)
            contexts.append(context)
        return [tf.stack(states, axis=2), tf.stack(contexts, axis=2)]

    assert_same(tf.function(packed, autograph=False), stepped, *SEQUENCES, memory, memory, *kernels)
