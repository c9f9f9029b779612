"""Captions packed by falling length."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from imcap.decoders.packing import Packing

WIDTH, LENGTH = 5, 9


def make_tokens(batch: int, seed: int = 0) -> np.ndarray:
    """Random tokens after which sequences end at random, some of them before the first one."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(1, 100, (batch, WIDTH, LENGTH))
    lengths = rng.integers(0, LENGTH + 1, (batch, WIDTH, 1))
    return np.where(np.arange(LENGTH) < lengths, tokens, 0).astype(np.int32)


@pytest.mark.parametrize("batch", [1, 4, 30])
def test_unpacking_restores_what_was_packed(batch):
    tokens = make_tokens(batch)
    packing = Packing(tf.constant(tokens))
    packed = packing.pack(tf.constant(tokens[..., np.newaxis]))
    np.testing.assert_array_equal(packing.unpack(packed)[..., 0], tokens)
    assert packed.shape[0] == sum(packing.counts) <= tokens.size
    images = np.broadcast_to(np.arange(batch)[:, np.newaxis, np.newaxis], tokens.shape)
    expected = packing.pack(tf.constant(images.astype(np.int32)))
    np.testing.assert_array_equal(packing.images, expected)


def test_steps_have_only_sequences_that_go_on_rounded_up():
    tokens = make_tokens(40)
    counts = Packing(tf.constant(tokens)).counts.numpy()
    live = np.count_nonzero(tokens, axis=(0, 1))
    assert np.all(counts >= live) and np.all(counts < live + 32)
    assert len(set(counts)) > 3
    assert np.all(np.diff(counts) <= 0)


def test_previous_is_the_value_of_the_same_sequence_one_step_earlier():
    tokens = make_tokens(20)
    packing = Packing(tf.constant(tokens))
    before = np.full([20, WIDTH, 1], -1, np.int32)
    first = packing.sort(tf.constant(before))
    packed = packing.pack(tf.constant(tokens[..., np.newaxis]))
    found = packing.unpack(packing.previous(packed, first))[..., 0].numpy()
    shifted = np.concatenate([before, tokens[..., :-1]], axis=-1)
    np.testing.assert_array_equal(found[tokens > 0], shifted[tokens > 0])


@pytest.mark.parametrize("step", [0, 4, LENGTH - 1])
def test_a_steps_sequences_go_to_their_images_and_back(step):
    packing = Packing(tf.constant(make_tokens(20)))
    count = packing.counts[step]
    rows = tf.random.stateless_normal([count, 3], [1, 2])
    by_image = packing.by_image(rows)
    assert by_image.shape == (20, WIDTH, 3)
    assert np.count_nonzero(tf.reduce_any(by_image != 0, axis=-1)) == count
    np.testing.assert_array_equal(packing.by_length(by_image, count), rows)
    whole = tf.random.stateless_normal([20, WIDTH, 3], [3, 4])
    np.testing.assert_array_equal(packing.by_length(whole, count), packing.sort(whole)[:count])
