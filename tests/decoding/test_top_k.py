"""The largest values of rows: against TensorFlow's own operation."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from imcap.decoding.top_k import top_k


# Rows that need no padding, that do, of one group, and shorter than k.
@pytest.mark.parametrize(("rows", "size"), [(3, 2990), (2, 1009), (1, 40), (4, 3)])
@pytest.mark.parametrize("k", [1, 5, 20])
def test_values_and_places_are_those_of_tensorflow(rows, size, k):
    x = np.random.default_rng(size).permutation(rows * size).astype(np.float32)
    x = tf.constant(x.reshape(rows, size))
    graph = tf.function(
        top_k,
        input_signature=[tf.TensorSpec([None, size]), tf.TensorSpec([], "int32")],
        autograph=False,
    )
    expected = tf.math.top_k(x, min(k, size))
    for values, places in (top_k(x, k), graph(x, k)):
        np.testing.assert_array_equal(values, expected.values)
        np.testing.assert_array_equal(places, expected.indices)


def test_the_largest_values_may_lie_in_one_group():
    x = tf.constant([[*range(1000, 1050), *range(950)]], tf.float32)
    values, places = top_k(x, 5)
    assert values.numpy().tolist() == [[1049, 1048, 1047, 1046, 1045]]
    assert places.numpy().tolist() == [[49, 48, 47, 46, 45]]
