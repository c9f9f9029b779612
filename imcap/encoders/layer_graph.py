"""The graph of a functional Keras network: which layer produces and which consume each tensor."""

from __future__ import annotations

import collections
import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import keras

from imcap.errors import UserError

CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)


@dataclasses.dataclass
class LayerGraph:
    """The tensors and layers of a functional network, by their `id`.

    Attributes:
      producers: by tensor, the layer that computes it; a network's input has none.
      consumers: by tensor, the layers that consume it; None among them is the network's output.
      inputs: by layer, the tensors that it consumes, in the order of its last call.
      calls: by layer, how often it is called.
    """

    producers: dict[int, keras.layers.Layer] = dataclasses.field(default_factory=dict)
    consumers: dict[int, list[keras.layers.Layer | None]] = dataclasses.field(
        default_factory=lambda: collections.defaultdict(list)
    )
    inputs: dict[int, list[int]] = dataclasses.field(default_factory=dict)
    calls: collections.Counter[int] = dataclasses.field(default_factory=collections.Counter)
    _tensors: list[Any] = dataclasses.field(default_factory=list)  # Keeps the ids from reuse.

    def add_call(self, layer: keras.layers.Layer, inputs: list[Any], outputs: list[Any]) -> None:
        """Adds a call of a layer."""
        inputs = [tensor for tensor in inputs if keras.backend.is_keras_tensor(tensor)]
        self._tensors += inputs + outputs
        for tensor in inputs:
            self.consumers[id(tensor)].append(layer)
        self.producers.update((id(tensor), layer) for tensor in outputs)
        self.inputs[id(layer)] = [id(tensor) for tensor in inputs]
        self.calls[id(layer)] += 1


def trace(network: keras.Model) -> LayerGraph:
    """Returns the graph of a functional network; nested ones count as one layer (see `flatten`)."""
    graph = LayerGraph()

    def call(layer: keras.layers.Layer, *args: Any, **kwargs: Any) -> Any:
        outputs = layer(*args, **kwargs)
        graph.add_call(layer, keras.tree.flatten((args, kwargs)), keras.tree.flatten(outputs))
        return outputs

    traced = rebuild(network, call)
    for tensor in traced.outputs:
        graph.consumers[id(tensor)].append(None)
    return graph


def rebuild(network: keras.Model, call: Callable[..., Any], inputs: Any = None) -> keras.Model:
    """Calls the layers of a functional network anew, each through `call(layer, *args, **kwargs)`.

    Args:
      network: a functional model.
      call: returns the layer's outputs.
      inputs: tensors to start from, structured as `network.input`; None for new placeholders.

    Returns:
      A functional model that shares all layers with `network`.
    """
    return keras.models.clone_model(
        network, input_tensors=inputs, clone_function=lambda layer: layer, call_function=call
    )


def flatten(network: keras.Model) -> keras.Model:
    """Returns a functional network without networks as layers: their layers take their place.

    The layers are shared with `network`. One whose name is taken gets the names of the networks
    around it as a prefix.

    Raises:
      UserError: a network inside has no graph of layers, or always runs as in training.
    """
    if not any(isinstance(layer, keras.Model) for layer in network.layers):
        return network
    layers = [layer for layer in network.operations if not isinstance(layer, keras.Model)]
    names = {layer.name: layer for layer in layers}

    def call_under(prefix: str) -> Callable[..., Any]:
        def call(layer: keras.layers.Layer, *args: Any, **kwargs: Any) -> Any:
            if isinstance(layer, keras.Model):
                return _call_inline(layer, call_under(f"{prefix}{layer.name}_"), args, kwargs)
            layer.name = _unique_name(layer, prefix, names)
            names[layer.name] = layer
            return layer(*args, **kwargs)

        return call

    return rebuild(network, call_under(""))


def _unique_name(layer: keras.layers.Layer, prefix: str, names: Mapping[str, Any]) -> str:
    numbered = (f"{prefix}{layer.name}_{number}" for number in itertools.count(1))
    for name in itertools.chain([layer.name, f"{prefix}{layer.name}"], numbered):
        if names.get(name, layer) is layer:
            return name
    raise AssertionError  # The numbers do not end.


def _call_inline(network: keras.Model, call: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Calls the layers of a network inside another; returns the outputs of that network."""
    if not getattr(network, "inputs", None) or kwargs.get("training"):
        raise UserError(
            f"the encoder has a network {network.name!r} inside that is not made of Keras layers "
            "alone or always runs as in training: save it as one functional model"
        )
    structure = network.output
    if isinstance(network, keras.Sequential):
        network = keras.Model(network.inputs, network.outputs)
    # The model that `rebuild` returns has copies of these tensors: the outputs are found by their
    # place in the order of calls.
    places = _output_places(network)
    tensors = keras.tree.flatten(args[0])
    inputs = keras.tree.pack_sequence_as(network.input, list(tensors))
    rebuild(network, _recording(call, tensors), inputs)
    return keras.tree.pack_sequence_as(structure, [tensors[place] for place in places])


def _output_places(network: keras.Model) -> list[int]:
    """Returns where a network's outputs are among its inputs and all its layers' outputs."""
    tensors: list[Any] = []
    rebuilt = rebuild(network, _recording(lambda layer, *args, **kw: layer(*args, **kw), tensors))
    ids = [id(tensor) for tensor in [*rebuilt.inputs, *tensors]]
    return [ids.index(id(tensor)) for tensor in rebuilt.outputs]


def _recording(call: Callable[..., Any], tensors: list[Any]) -> Callable[..., Any]:
    """Returns `call` with all outputs appended to `tensors`."""

    def recording(*args: Any, **kwargs: Any) -> Any:
        outputs = call(*args, **kwargs)
        tensors.extend(keras.tree.flatten(outputs))
        return outputs

    return recording


@functools.cache
def _add_classes() -> tuple[type, ...]:
    inputs = keras.Input((1,))
    # Keras does not export the class of the operation.
    operation = keras.Model(inputs, keras.ops.add(inputs, inputs)).operations[-1]
    return keras.layers.Add, type(operation)


def is_add(layer: keras.layers.Layer) -> bool:
    """Tells whether a layer is `keras.layers.Add`, or the operation of `+` and `keras.ops.add`."""
    return isinstance(layer, _add_classes())
