"""Dropout as a function of a seed."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from imcap.decoders.base import NO_DROPOUT, Dropout


def test_dropout_zeroes_its_rate_and_scales_the_rest():
    x = tf.ones([100, 100])
    dropped = Dropout(tf.constant([3, 4]))(x, 0.3).numpy()
    assert np.mean(dropped == 0) == pytest.approx(0.3, abs=0.02)
    np.testing.assert_allclose(dropped[dropped != 0], 1 / 0.7, rtol=1e-6)


def test_each_call_of_dropout_draws_another_mask():
    def masks(seed: int) -> list[np.ndarray]:
        dropout = Dropout(tf.constant([0, seed]))
        return [dropout(tf.ones([64]), 0.5).numpy() for _ in range(2)]

    first, second = masks(5)
    assert (first != second).any()
    np.testing.assert_array_equal([first, second], masks(5))
    assert (first != masks(6)[0]).any()


def test_no_dropout_and_a_rate_of_zero_change_nothing():
    x = tf.random.stateless_normal([8, 8], [1, 1])
    np.testing.assert_array_equal(NO_DROPOUT(x, 0.9), x)
    np.testing.assert_array_equal(Dropout(tf.constant([1, 1]))(x, 0.0), x)
