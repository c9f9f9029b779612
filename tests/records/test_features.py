"""Features as records hold them: levels, their scale, and what reading gives back."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from imcap import records
from imcap.records import features as features_lib


def make_features(*, signed: bool = False) -> np.ndarray:
    """Returns the activations of three images of very different size, float32 [3, 6, 40]."""
    values = np.random.default_rng(0).normal(0, 1, (3, 6, 40)) * [[[1e-3]], [[1.0]], [[1e3]]]
    return np.float32(values if signed else np.maximum(values, 0))


def roots(features: np.ndarray) -> np.ndarray:
    return np.sign(features) * np.sqrt(np.abs(features))


@pytest.mark.parametrize("signed", [False, True])
def test_the_levels_of_an_image_differ_from_its_roots_by_half_a_step_at_most(signed):
    features = make_features(signed=signed)
    levels, scale = features_lib.quantize(tf.constant(features))
    assert levels.dtype == tf.uint8 and scale.shape == (3, 2)
    assert levels.numpy().min(axis=(1, 2)).tolist() == [0, 0, 0]
    assert levels.numpy().max(axis=(1, 2)).tolist() == [79, 79, 79]
    steps = np.ptp(roots(features), axis=(1, 2)) / 79
    np.testing.assert_allclose(scale[:, 1], steps, rtol=1e-6)
    found = features_lib.dequantize(levels, scale).numpy()
    error = np.abs(roots(found) - roots(features)).max(axis=(1, 2))
    assert (error <= steps * 0.501).all()


def test_zeros_stay_zeros():
    features = make_features()
    stored = records.rounded(tf.constant(features), "uint8").numpy()
    assert not stored[features == 0].any()


def test_equal_values_are_kept():
    features = tf.fill((1, 2, 3), 4.5)
    np.testing.assert_allclose(records.rounded(features, "uint8"), features, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_floats_are_rounded_to_the_records_dtype(dtype):
    features = tf.constant(make_features())
    found = records.rounded(features, dtype)
    assert found.dtype == records.float_dtype(dtype) == tf.as_dtype(dtype)
    np.testing.assert_array_equal(found, tf.cast(features, dtype))


def test_levels_that_are_mostly_zero_take_a_quarter_of_their_bytes():
    generator = np.random.default_rng(0)
    shape = (49, 2048)
    levels = np.uint8(generator.exponential(20, shape)) * (generator.random(shape) < 0.15)
    stored = features_lib.compress(levels.tobytes())
    assert len(stored) < levels.size / 4
    assert features_lib.decompress(tf.constant([stored])).numpy().tolist() == [levels.tobytes()]
