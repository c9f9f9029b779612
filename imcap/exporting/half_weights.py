"""A captioner whose SavedModel holds its weights as float16 and computes with them as float32."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from imcap.errors import UserError


class _Model(Protocol):
    def signatures(self) -> Mapping[str, Callable[..., Any]]:
        """See `CaptionModel.signatures`."""

    def steps(self) -> Mapping[str, Callable[..., Any]]:
        """See `CaptionModel.steps`."""


class _Filling(tf.saved_model.experimental.TrackableResource):
    """Fills float32 variables with the values of float16 ones when a SavedModel is loaded.

    Whatever loads it, TensorFlow Serving too, initializes its resources after it has restored the
    variables, so that no call casts weights. The float16 values stay in memory as well.
    """

    def __init__(self) -> None:
        """Nothing is filled yet."""
        super().__init__()
        self._pairs: list[tuple[tf.Variable, tf.Variable]] = []

    def add(self, weight: tf.Variable, stored: tf.Variable) -> None:
        """Takes a float32 variable and one with its values."""
        self._pairs.append((weight, stored))

    def _create_resource(self) -> tf.Tensor:
        # A handle that nothing uses: what is initialized has to have one.
        return tf.raw_ops.VarHandleOp(dtype=tf.bool, shape=[], shared_name="half_weights")

    def _initialize(self) -> None:
        for weight, stored in self._pairs:
            weight.assign(tf.cast(stored, tf.float32))


class HalvedModel(tf.Module):
    """A captioner's signatures on weights that are stored as float16; to be saved, not called."""

    def __init__(self, model: _Model) -> None:
        """Halves the float32 kernels that the signatures read; vectors, such as biases, stay.

        Args:
          model: its signatures cannot be called afterwards; its weights stay as they are.

        Raises:
          UserError: a weight has values that float16 cannot hold.
        """
        super().__init__()
        # Its graphs refer to their variables weakly. A function is not saved as an object would be.
        self._get_model = lambda: model
        resource = tf.saved_model.experimental.TrackableResource
        parts = tf.train.TrackableView(model).descendants()
        self._tables = [part for part in parts if isinstance(part, resource)]
        self._filling = _Filling()
        self._variables: list[tf.Variable] = []
        self._by_handle: dict[int, tf.Tensor] = {}  # By the id of the handle that it replaces.
        self._signatures = {
            name: self._with_halved_weights(function.get_concrete_function())  # type: ignore[attr-defined]
            for name, function in model.signatures().items()
        }
        for name, function in model.steps().items():
            setattr(self, name, _wrap(self._with_halved_weights(function)))

    def signatures(self) -> dict[str, Callable[..., Any]]:
        """Returns graphs by the name of their signature, for `tf.saved_model.save`."""
        return dict(self._signatures)

    def _with_halved_weights(self, function: Any) -> Any:
        """Makes a graph read the halved weights; `function`: a ConcreteFunction."""
        for variable in function.graph.variables:
            if id(variable.handle) not in self._by_handle:
                self._by_handle[id(variable.handle)] = self._add(variable)
        captures = [self._by_handle.get(id(one), one) for one in function.captured_inputs]
        function.set_external_captures(captures)
        return function

    def _add(self, variable: tf.Variable) -> tf.Tensor:
        """Returns the handle of what a signature reads instead of a variable of the model."""
        if variable.dtype != tf.float32 or variable.shape.rank < 2:
            self._variables.append(variable)
            return variable.handle
        weight = tf.Variable(variable, trainable=False)
        # The files do not hold its values. Of objects with this attribute, TensorFlow saves what it
        # returns; other ways to leave out a variable that graphs read were not found.
        weight._serialize_to_tensors = dict
        stored = tf.Variable(halve(variable.name, variable.numpy()), trainable=False)
        self._variables += [weight, stored]
        self._filling.add(weight, stored)
        return weight.handle


def _wrap(function: Any) -> Callable[..., Any]:
    """Returns a graph as a function that takes its one argument by its place, also once loaded."""
    (spec,), _ = function.structured_input_signature
    return tf.function(lambda x: function(x), input_signature=[spec], autograph=False)


def halve(name: str, values: np.ndarray) -> np.ndarray:
    """Returns a weight as float16; raises UserError if that cannot hold its values.

    `name`: of the weight, for the message.
    """
    with np.errstate(over="ignore"):  # Refused below.
        halved = np.asarray(values, np.float16)
    if not np.isfinite(halved).all():
        raise UserError(f"the weight {name} has values that float16 cannot hold")
    return halved
