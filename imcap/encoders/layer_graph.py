"""Who makes and who takes each tensor of a Keras network."""

from __future__ import annotations

import collections
import dataclasses
from typing import Any

import keras

CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)


@dataclasses.dataclass
class Uses:
    """A functional network's tensors, by their ids.

    Attributes:
      makers: the layer that a tensor comes from; a network's input comes from none.
      takers: the layers that take a tensor, and None where it is an output of the network.
      inputs: by a layer's name, the tensors that it takes, in the order of its last call.
      calls: by a layer's name, how often it is used.
    """

    makers: dict[int, keras.layers.Layer] = dataclasses.field(default_factory=dict)
    takers: dict[int, list[keras.layers.Layer | None]] = dataclasses.field(
        default_factory=lambda: collections.defaultdict(list)
    )
    inputs: dict[str, list[int]] = dataclasses.field(default_factory=dict)
    calls: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    _tensors: list[Any] = dataclasses.field(default_factory=list)  # Keeps the ids from reuse.

    def note(self, layer: keras.layers.Layer, taken: list[Any], made: list[Any]) -> None:
        """Adds a call of a layer."""
        taken = [tensor for tensor in taken if keras.backend.is_keras_tensor(tensor)]
        self._tensors += taken + made
        for tensor in taken:
            self.takers[id(tensor)].append(layer)
        self.makers.update((id(tensor), layer) for tensor in made)
        self.inputs[layer.name] = [id(tensor) for tensor in taken]
        self.calls[layer.name] += 1


def trace(network: keras.Model) -> Uses:
    """Returns the uses of a functional network's tensors, those inside nested ones left out."""
    uses = Uses()

    def call(layer: keras.layers.Layer, *args: Any, **kwargs: Any) -> Any:
        outputs = layer(*args, **kwargs)
        uses.note(layer, keras.tree.flatten((args, kwargs)), keras.tree.flatten(outputs))
        return outputs

    traced = keras.models.clone_model(
        network, clone_function=lambda layer: layer, call_function=call
    )
    for tensor in traced.outputs:
        uses.takers[id(tensor)].append(None)
    return uses
