"""Attention weights, and what they weigh."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from small_decoders import BATCH, POSITIONS, WIDTH, make_decoder, make_features

from imcap.decoders.base import NO_DROPOUT
from imcap.text import START


@pytest.mark.parametrize("heads", [1, 4])
def test_a_step_returns_its_attention_weights(heads):
    decoder, features = make_decoder("attention", heads=heads), make_features()
    memory, carry = decoder.start(features, WIDTH, NO_DROPOUT)
    _, carry = decoder.step(tf.fill([BATCH, WIDTH], START), memory, carry)
    attention = carry["attention"].numpy()
    assert attention.shape == (BATCH, WIDTH, POSITIONS)
    np.testing.assert_allclose(attention.sum(-1), 1, atol=1e-6)
    assert attention.std(axis=-1).min() > 1e-3
