"""SavedModels with float16 weights: what they compute, and what becomes of their variables."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from refusals import refusal

from imcap.exporting.half_weights import HalvedModel

_X = np.float32([[1, 2, 3], [-1, 0, 1]])


class _Product(tf.Module):
    """A model with a kernel, a bias and a table."""

    def __init__(self, kernel: np.ndarray) -> None:
        super().__init__()
        self.kernel, self.bias = tf.Variable(kernel), tf.Variable(np.float32([0.1, 0.2]))
        keys, values = tf.constant(["one", "two"]), tf.constant([1.0, 2.0])
        pairs = tf.lookup.KeyValueTensorInitializer(keys, values)
        self.table = tf.lookup.StaticHashTable(pairs, 0.0)

    @tf.function(input_signature=[tf.TensorSpec([None, 3], name="x")], autograph=False)
    def multiply(self, x):
        return {"y": (x @ self.kernel + self.bias) * self.table.lookup(tf.constant("one"))}

    def signatures(self):
        return {"serving_default": self.multiply}

    def steps(self):
        return {"encode": self.multiply.get_concrete_function()}


def _kernel(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(3, 2)).astype(np.float32)


def _product(kernel: np.ndarray) -> np.ndarray:
    return _X @ kernel.astype(np.float16).astype(np.float32) + np.float32([0.1, 0.2])


def _load(kernel: np.ndarray, folder: Path):
    halved = HalvedModel(_Product(kernel))
    tf.saved_model.save(halved, str(folder), signatures=halved.signatures())
    return tf.saved_model.load(str(folder))


@pytest.fixture(scope="module")
def loaded(tmp_path_factory) -> list:
    """Two models with weights of their own, in one process."""
    folder = tmp_path_factory.mktemp("halved")
    return [_load(_kernel(seed), folder / str(seed)) for seed in (0, 1)]


@pytest.mark.parametrize("seed", [0, 1])
def test_a_loaded_model_computes_with_rounded_kernels_in_float32(loaded, seed):
    found = loaded[seed].signatures["serving_default"](x=tf.constant(_X))["y"]
    np.testing.assert_allclose(found, _product(_kernel(seed)), rtol=1e-6)


def test_steps_of_a_loaded_model_take_their_argument_by_its_place(loaded):
    found = loaded[0].encode(tf.constant(_X))["y"]
    np.testing.assert_allclose(found, _product(_kernel(0)), rtol=1e-6)


def test_no_call_reads_a_stored_kernel(loaded):
    read = loaded[0].signatures["serving_default"].graph.variables
    assert {variable.dtype for variable in read} == {tf.float32} and len(read) == 2


def test_a_signature_outlives_the_object_that_was_loaded(tmp_path):
    signature = _load(_kernel(2), tmp_path / "model").signatures["serving_default"]
    gc.collect()
    np.testing.assert_allclose(signature(x=tf.constant(_X))["y"], _product(_kernel(2)), rtol=1e-6)


def test_only_kernels_are_stored_as_float16(tmp_path):
    _load(_kernel(0), tmp_path / "model")
    path = str(tmp_path / "model" / "variables" / "variables")
    reader = tf.train.load_checkpoint(path)
    shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    stored = {(tuple(shapes[name]), dtypes[name]) for name in shapes if "VALUE" in name}
    assert stored == {((3, 2), tf.float16), ((2,), tf.float32)}


def test_a_weight_that_float16_cannot_hold_is_refused():
    line = refusal(HalvedModel, _Product(np.float32([[1e6, 0]] * 3)))
    assert line.endswith("has values that float16 cannot hold")
