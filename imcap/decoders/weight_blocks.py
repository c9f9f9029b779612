"""Products of a few rows with a kernel of several megabytes."""

from __future__ import annotations

import tensorflow as tf

# oneDNN computes a product that fits a core's cache in the thread that asks for it. Of a larger one
# it hands each thread a part, and waiting for them takes longer than the product of a few rows:
# blocks of this size are multiplied at 25 GB/s where whole kernels are at 14.
_BLOCK_BYTES = 1 << 20


class WeightBlocks(tf.Module):
    """A kernel as blocks of columns; these are variables of their own, which are not trained."""

    def __init__(self, kernel: tf.Tensor, bias: tf.Tensor | None = None, groups: int = 1) -> None:
        """Copies the weights.

        Args:
          kernel: float32 [n, m].
          bias: float32 [m]; None: zeros.
          groups: how many tensors the results are wanted as; divides `m`.
        """
        super().__init__()
        self._groups = [_cut(group) for group in tf.split(kernel, groups, axis=1)]
        self._biases = [] if bias is None else [_copy(part) for part in tf.split(bias, groups)]

    def __call__(self, x: tf.Tensor) -> list[tf.Tensor]:
        """Returns x [rows, n] times the kernel plus the bias, [rows, m / groups] of each group."""
        found = [_join([tf.matmul(x, block) for block in group]) for group in self._groups]
        if not self._biases:
            return found
        return [product + bias for product, bias in zip(found, self._biases, strict=True)]


def _cut(kernel: tf.Tensor) -> list[tf.Variable]:
    rows, columns = kernel.shape
    count = min(columns, -(-4 * rows * columns // _BLOCK_BYTES))
    sizes = [(columns + number) // count for number in range(count)]
    return [_copy(block) for block in tf.split(kernel, sizes, axis=1)]


def _copy(value: tf.Tensor) -> tf.Variable:
    return tf.Variable(value, trainable=False)


def _join(parts: list[tf.Tensor]) -> tf.Tensor:
    return parts[0] if len(parts) == 1 else tf.concat(parts, axis=1)
