"""Products by blocks equal those of the whole kernel."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from imcap.decoders.weight_blocks import WeightBlocks


# One block, several of different sizes, and a row of more than a block's bytes.
@pytest.mark.parametrize("shape", [(3, 8), (1024, 600), (300_000, 2)])
@pytest.mark.parametrize("groups", [1, 2])
def test_products_are_those_of_the_whole_kernel(shape, groups):
    rng = np.random.default_rng(0)
    kernel, bias, x = (rng.normal(size=s).astype("f") for s in (shape, shape[1], (2, shape[0])))
    kernel *= np.float32(shape[0] ** -0.5)
    for vector in (None, tf.constant(bias)):
        blocks = WeightBlocks(tf.constant(kernel), vector, groups)
        expected = np.split(x @ kernel + (0 if vector is None else bias), groups, axis=1)
        for found, wanted in zip(blocks(tf.constant(x)), expected, strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-5)
        assert not blocks.trainable_variables
