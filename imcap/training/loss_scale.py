"""Dynamic loss scaling for float16 (Micikevicius et al., 2018).

Gradients below 6e-8 are zero in float16: the loss is multiplied with a number that lifts them, and
the gradients are divided by it. Where a gradient overflows, the update is left out and the scale
halved; after many updates without one it is doubled. Keras' LossScaleOptimizer decides this within
a replica, where the updates of MirroredStrategy cannot be conditional, and once it has clipped.
"""

from __future__ import annotations

import tensorflow as tf

DTYPES = ("float16",)  # Of matrix products that need it; bfloat16 has float32's range.
INITIAL = 2.0**15
_DOUBLED_AFTER = 2000  # Updates without an overflow.
_SMALLEST = 2.0**-20  # Below it, it is the training that diverges.


class LossScale(tf.Module):
    """The scale and its rule; its variables belong into checkpoints."""

    def __init__(self) -> None:
        """Begins with `INITIAL`."""
        super().__init__()
        self.value = tf.Variable(INITIAL, trainable=False, name="loss_scale")
        self.finite_steps = tf.Variable(0, trainable=False, dtype=tf.int64, name="finite_steps")

    def update(self, is_finite: tf.Tensor) -> None:
        """Follows a step, in graph; `is_finite`: bool scalar, whether its gradients were."""
        steps = tf.where(is_finite, self.finite_steps + 1, 0)
        is_due = steps >= _DOUBLED_AFTER
        factor = tf.where(is_finite, tf.where(is_due, 2.0, 1.0), 0.5)
        self.value.assign(self.value * factor)
        self.finite_steps.assign(tf.where(is_due, tf.zeros_like(steps), steps))

    def is_exhausted(self) -> tf.Tensor:
        """Tells whether gradients overflow at any useful scale, bool scalar."""
        return self.value < _SMALLEST
