"""Residual sums made safe for calls at the same time.

On a CPU, TensorFlow lets a convolution add a residual to its result in one pass. Where it may not
write into the residual's own memory, as something else still reads it, TensorFlow 2.21 notes the
copy in the kernel, which all calls of a graph share (fuse_add_src_ in mkl_conv_ops.cc): two calls
at once then crash, or add each other's residuals.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from imcap.encoders.layer_graph import CONVOLUTIONS, Uses, trace


class Copy(keras.layers.Layer):
    """Gives a tensor a memory of its own that nothing else reads."""

    def call(self, tensor: tf.Tensor) -> tf.Tensor:
        return tf.raw_ops.Snapshot(input=tensor)


def guard(network: keras.Model) -> keras.Model:
    """Returns a network of the same layers in which a convolution's sum is with a copy of what
    something else may still read."""
    uses = trace(network)

    def call(layer: keras.layers.Layer, *args: Any, **kwargs: Any) -> Any:
        # Of Keras' layers or the operator +.
        exposed = _exposed(layer, uses) if type(layer).__name__ == "Add" else set()
        tensors = enumerate(keras.tree.flatten(args))
        copied = [Copy()(tensor) if index in exposed else tensor for index, tensor in tensors]
        return layer(*keras.tree.pack_sequence_as(args, copied), **kwargs)

    return keras.models.clone_model(network, clone_function=lambda layer: layer, call_function=call)


def _exposed(layer: keras.layers.Layer, uses: Uses) -> set[int]:
    """Returns which inputs of an Add something may read while a convolution adds to them."""
    tensors = uses.inputs[layer.name]
    found = set()
    for index, tensor in enumerate(tensors):
        makers = [uses.makers.get(other) for other in tensors if other != tensor]
        others = [taker for taker in uses.takers[tensor] if taker is not layer]
        for maker in makers:
            if type(maker) in CONVOLUTIONS and not _are_before(others, maker, uses):
                found.add(index)
    return found


def _are_before(
    layers: list[keras.layers.Layer | None], last: keras.layers.Layer, uses: Uses
) -> bool:
    """Tells whether all `layers` are done when `last` begins: it needs what they make."""
    before, waiting = set(), [last]
    while waiting:
        makers = [uses.makers.get(tensor) for tensor in uses.inputs.get(waiting.pop().name, [])]
        new = [maker for maker in makers if maker is not None and maker.name not in before]
        before.update(maker.name for maker in new)
        waiting += new
    return all(layer is not None and layer.name in before for layer in layers)
