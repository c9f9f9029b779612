"""Makes residual additions safe for concurrent calls of a network, where TensorFlow fuses them.

On a CPU, TensorFlow fuses a convolution with the addition of a residual. Where something else
may still read the residual, the kernel cannot add in place; TensorFlow 2.21 then keeps the copy in
a member of the kernel (`fuse_add_src_` in mkl_conv_ops.cc), which all calls of a graph share. Two
concurrent calls crash, or add each other's residuals.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from imcap.encoders import layer_graph
from imcap.encoders.layer_graph import CONVOLUTIONS, LayerGraph

# SeparableConv2D ends in a convolution of its own.
_FUSED = (*CONVOLUTIONS, keras.layers.SeparableConv2D)


@tf.RegisterGradient("Snapshot")
def _gradient_of_copy(operation: tf.Operation, upstream: tf.Tensor) -> tf.Tensor:
    del operation
    return upstream


class Copy(keras.layers.Layer):
    """Copies a tensor, so that nothing else reads the result's memory."""

    def call(self, tensor: tf.Tensor) -> tf.Tensor:
        return tf.raw_ops.Snapshot(input=tensor)


def guard(network: keras.Model) -> keras.Model:
    """Returns a network of the same layers in which an addition reads a copy of a residual that
    something else may still read.

    Raises:
      UserError: as `layer_graph.flatten` does.
    """
    network = layer_graph.flatten(network)
    graph = layer_graph.trace(network)

    def call(layer: keras.layers.Layer, *args: Any, **kwargs: Any) -> Any:
        exposed = _exposed_inputs(layer, graph) if layer_graph.is_add(layer) else set()
        tensors = enumerate(keras.tree.flatten(args))
        copied = [Copy()(tensor) if index in exposed else tensor for index, tensor in tensors]
        return layer(*keras.tree.pack_sequence_as(args, copied), **kwargs)

    return layer_graph.rebuild(network, call)


def _exposed_inputs(layer: keras.layers.Layer, graph: LayerGraph) -> set[int]:
    """Returns which inputs of an addition may still be read when a convolution adds to them."""
    tensors = graph.inputs[id(layer)]
    exposed = set()
    for index, tensor in enumerate(tensors):
        producers = [graph.producers.get(other) for other in tensors if other != tensor]
        consumers = [consumer for consumer in graph.consumers[tensor] if consumer is not layer]
        for producer in producers:
            if type(producer) in _FUSED and not _precede(consumers, producer, graph):
                exposed.add(index)
    return exposed


def _precede(
    layers: list[keras.layers.Layer | None], last: keras.layers.Layer, graph: LayerGraph
) -> bool:
    """Tells whether `last` depends on all `layers`, so that they have run before it."""
    dependencies: set[int] = set()
    waiting = [last]
    while waiting:
        inputs = graph.inputs.get(id(waiting.pop()), [])
        producers = [graph.producers[tensor] for tensor in inputs if tensor in graph.producers]
        new = [producer for producer in producers if id(producer) not in dependencies]
        dependencies.update(map(id, new))
        waiting += new
    return all(layer is not None and id(layer) in dependencies for layer in layers)
