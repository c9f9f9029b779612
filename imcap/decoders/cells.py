"""One step of an LSTM and of attention, and what their gradients are made of.

The functions called `backward_…` return the gradients of a function's arguments from those of its
results.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf


def fused(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles a function of tensors with XLA where its first argument is of 16 bits.

    There TensorFlow's separate operations convert to float32 and back each time, and XLA takes half
    of their time. In float32 it gains nothing, and an export, which is float32, needs no XLA.
    """
    compiled = tf.function(function, jit_compile=True, autograph=False)

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        return (compiled if arguments[0].dtype.size == 2 else function)(*arguments)

    return call


@fused
def update(sums: tf.Tensor, cell: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """One LSTM update (Hochreiter and Schmidhuber, 1997).

    Args:
      sums: [..., 4 * units], of input gate, forget gate, candidate and output gate before their
        activations.
      cell: [..., units].

    Returns:
      The new hidden state and cell, [..., units] each.
    """
    return update_gates(tf.split(sums, 4, axis=-1), cell)


def update_gates(sums: Sequence[tf.Tensor], cell: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Does what `update` does; `sums`: of each gate, [..., units]."""
    input_gate, forget_gate, candidate, output_gate = _activate(sums)
    cell = forget_gate * cell + input_gate * candidate
    return output_gate * tf.tanh(cell), cell


def _activate(sums: Sequence[tf.Tensor]) -> tuple[tf.Tensor, ...]:
    input_gate, forget_gate, candidate, output_gate = sums
    # The forget gate's bias starts at 1 (Jozefowicz et al., 2015), so that gradients pass through
    # many steps of an untrained cell.
    forget_gate = tf.sigmoid(forget_gate + 1)
    return tf.sigmoid(input_gate), forget_gate, tf.tanh(candidate), tf.sigmoid(output_gate)


@fused
def backward_update(
    d_hidden: tf.Tensor,
    of_hidden: tf.Tensor,
    sums: tf.Tensor,
    cell: tf.Tensor,
    previous: tf.Tensor,
    d_cell: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the gradients of `update`'s arguments.

    Args:
      d_hidden, of_hidden: [n, units], two parts of the hidden state's gradient.
      sums: [n, 4 * units], the argument.
      cell: [n, units], the result.
      previous: [n, units], the argument.
      d_cell: [n, units], the gradient of the resulting cell.

    Returns:
      Those of the sums, [n, 4 * units], and of the previous cell, [n, units].
    """
    d_hidden += of_hidden
    (i, f, g, o), c = _activate(tf.split(sums, 4, axis=-1)), tf.tanh(cell)
    d_cell += d_hidden * o * (1 - c * c)
    parts = [
        d_cell * g * i * (1 - i),
        d_cell * previous * f * (1 - f),
        d_cell * i * (1 - g * g),
        d_hidden * c * o * (1 - o),
    ]
    return tf.concat(parts, axis=-1), d_cell * f


def attend(query: tf.Tensor, keys: tf.Tensor, values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Scaled dot-product attention (Vaswani et al., 2017).

    Args:
      query: [batch, heads, width, units / heads].
      keys, values: [batch, heads, positions, units / heads].

    Returns:
      The weighted values, of the query's shape, and the weights, [batch, heads, width, positions].
    """
    scale = tf.cast(keys.shape[-1] ** -0.5, keys.dtype)
    weights = tf.nn.softmax(tf.matmul(query, keys, transpose_b=True) * scale)
    return tf.matmul(weights, values), weights


@fused
def backward_softmax(d_weights: tf.Tensor, weights: tf.Tensor, size: int) -> tf.Tensor:
    """Returns the gradient of the products of query and keys in `attend`, of the weights' shape.

    Args:
      d_weights, weights: [batch, heads, width, positions].
      size: units / heads.
    """
    products = d_weights * weights
    centered = products - weights * tf.reduce_sum(products, axis=-1, keepdims=True)
    return centered * tf.cast(size**-0.5, weights.dtype)


@fused
def backward_context(
    d_context: tf.Tensor, of_context: tf.Tensor, gate: tf.Tensor, attended: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the gradients of the factors of `attended * sigmoid(gate)`.

    Args:
      d_context, of_context: [n, units], two parts of the product's gradient.
      gate, attended: [n, units], the factors.

    Returns:
      Those of `attended` and of `gate`, [n, units] each.
    """
    d_context += of_context
    gate = tf.sigmoid(gate)
    return d_context * gate, d_context * attended * gate * (1 - gate)


def split_heads(x: tf.Tensor, heads: int) -> tf.Tensor:
    """[batch, n, units] to [batch, heads, n, units / heads]."""
    if heads == 1:
        return x[:, tf.newaxis]
    # The static length is kept: the loop of a search needs the attention weights' shape.
    shape = [tf.shape(x)[0], x.shape[1] or tf.shape(x)[1], heads, x.shape[-1] // heads]
    return tf.transpose(tf.reshape(x, shape), (0, 2, 1, 3))


def join_heads(x: tf.Tensor) -> tf.Tensor:
    """The inverse of `split_heads`."""
    if x.shape[1] == 1:
        return tf.squeeze(x, axis=1)
    shape = [tf.shape(x)[0], tf.shape(x)[2], x.shape[1] * x.shape[3]]
    return tf.reshape(tf.transpose(x, (0, 2, 1, 3)), shape)
