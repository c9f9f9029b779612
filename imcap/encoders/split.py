"""A network in two parts: up to a layer, whose output records hold, and from there to its end."""

from __future__ import annotations

from typing import Any

import keras

from imcap.encoders import layer_graph
from imcap.errors import UserError


def split(network: keras.Model, name: str) -> tuple[keras.Model, keras.Model]:
    """Returns the lower and the upper part of a functional network with one input and one output.

    Where the upper part begins with 1x1 convolutions that skip rows and columns, the lower part
    skips them instead: ResNet50's conv5 block reads 7x7 of conv4's 14x14 positions, and records of
    these take a quarter of the bytes.

    Args:
      network: shares its layers with both parts, but for convolutions that no longer skip.
      name: of the layer that ends the lower part.

    Raises:
      UserError: there is no such layer, it is called more than once or the last one, its output is
        no grid of features, or the network's end does not depend on it alone.
    """
    network = layer_graph.flatten(network)
    rebuilt, tensor = _rebuild(network, name)
    if tensor is rebuilt.outputs[0]:
        raise _refused(name, "leaves no layer to train: name one before the last")
    if len(tensor.shape) != 4:
        raise _refused(name, f"has an output of shape {tensor.shape}: name one that ends in a grid")
    try:
        upper = keras.Model(tensor, rebuilt.outputs[0])
    except ValueError as error:
        reason = "is not all that the layers after it read: name one that ends a block"
        raise _refused(name, reason) from error
    stride = _skipped_stride(_first_layers(upper))
    if stride > 1:
        tensor = tensor[:, ::stride, ::stride]
        upper = _without_skipping(upper, keras.Input(batch_shape=tensor.shape))
    return keras.Model(rebuilt.inputs[0], tensor), upper


def _rebuild(network: keras.Model, name: str) -> tuple[keras.Model, keras.KerasTensor]:
    """Returns the network with its layers called anew, and the named layer's output in it."""
    found: list[keras.KerasTensor] = []

    def call(layer: keras.layers.Layer, *args: Any, **kwargs: Any) -> Any:
        outputs = layer(*args, **kwargs)
        if layer.name == name:
            found.append(outputs)
        return outputs

    rebuilt = layer_graph.rebuild(network, call)
    if not found:
        names = [layer.name for layer in network.layers]
        raise _refused(name, f"is no layer before config.encoder.layer, {names[-1]}")
    if len(found) > 1:
        raise _refused(name, "is called more than once")
    return rebuilt, found[0]


def _refused(name: str, reason: str) -> UserError:
    return UserError(f"config.encoder.tune_from={name!r} {reason}")


def _skipped_stride(first: list[keras.layers.Layer | None]) -> int:
    """Returns the stride that 1x1 convolutions have in common; 1 where one of `first` is none."""
    strides = {_pointwise_stride(layer) for layer in first}
    return strides.pop() if len(strides) == 1 else 1


def _pointwise_stride(layer: Any) -> int:
    if type(layer) is not keras.layers.Conv2D or layer.kernel_size != (1, 1):
        return 1
    rows, columns = layer.strides
    return rows if rows == columns and layer.data_format == "channels_last" else 1


def _first_layers(network: keras.Model) -> list[keras.layers.Layer | None]:
    """Returns the layers that read a network's input; None among them is its output."""
    graph = layer_graph.trace(network)
    (source,) = (tensor for tensor in graph.consumers if tensor not in graph.producers)
    return graph.consumers[source]


def _without_skipping(upper: keras.Model, inputs: keras.KerasTensor) -> keras.Model:
    """Returns a network whose first convolutions read every position of smaller inputs."""
    first = {id(layer) for layer in _first_layers(upper)}

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        if id(layer) not in first:
            return layer
        every = type(layer).from_config({**layer.get_config(), "strides": (1, 1)})
        every.build(layer.input.shape)
        every.set_weights(layer.get_weights())
        return every

    return keras.models.clone_model(upper, input_tensors=inputs, clone_function=clone)
