"""A decoder prepared for searching takes the same steps, with few sequences and with many."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from small_decoders import CHANNELS, POSITIONS, VOCABULARY, make_decoder

from imcap.decoders.base import NO_DROPOUT


@pytest.mark.parametrize("settings", [{}, {"heads": 2, "layers": 2}, {"tie_embeddings": False}])
# A single image, and batches below and above the limit.
@pytest.mark.parametrize(("batch", "width"), [(1, 5), (3, 2), (40, 2)])
def test_steps_are_those_of_the_decoder_that_was_not_prepared(settings, batch, width):
    decoder = make_decoder("attention", **settings)
    rng = np.random.default_rng(1)
    features = tf.constant(rng.normal(size=(batch, POSITIONS, CHANNELS)), tf.float32)
    tokens = tf.constant(rng.integers(0, VOCABULARY, (3, batch, width)), tf.int32)
    expected = _steps(decoder, features, tokens)
    names = [weight.name for weight in decoder.weights]
    decoder.prepare_search()
    for found, wanted in zip(_steps(decoder, features, tokens), expected, strict=True):
        tf.nest.map_structure(
            lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), found, wanted
        )
    # Checkpoints hold no copies.
    assert [weight.name for weight in decoder.weights] == names


def _steps(decoder, features: tf.Tensor, tokens: tf.Tensor) -> list[tuple]:
    """Logits and carry of each step."""
    memory, carry = decoder.start(features, tokens.shape[2], NO_DROPOUT)
    found = []
    for previous in tokens:
        logits, carry = decoder.step(previous, memory, carry)
        found.append((logits, carry))
    return found
