"""Whitened vectors of images, and the images nearest to another one."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from imcap.decoding.neighbors import NeighborIndex, fit_whitening, pool
from imcap.metrics.document_frequencies import DocumentFrequencies

IMAGES, CHANNELS = 60, 7


@pytest.fixture(scope="module")
def features() -> np.ndarray:
    rng = np.random.default_rng(0)
    mixed = rng.normal(0, 1, (IMAGES, 3, CHANNELS)) @ rng.normal(0, 1, (CHANNELS, CHANNELS))
    return mixed.astype(np.float32)


def build(pooled: np.ndarray, dimensions: int) -> NeighborIndex:
    captions = np.full((len(pooled), 1, 2), 5, np.uint16)
    frequencies = DocumentFrequencies.count([captions], 10)
    return NeighborIndex.build(pooled, captions, frequencies, dimensions)


def test_pooled_features_keep_their_sign(features):
    mean = features.mean(axis=1)
    assert (mean < 0).any()
    np.testing.assert_allclose(np.square(pool(features)) * np.sign(pool(features)), mean, atol=1e-5)
    half = pool(features.astype(np.float16))
    assert half.dtype == tf.float32
    np.testing.assert_allclose(half, pool(features), atol=0.05)


@pytest.mark.parametrize("dimensions", [3, CHANNELS, 256])
def test_whitened_vectors_are_uncorrelated_and_of_variance_1(features, dimensions):
    pooled = pool(features).numpy()
    mean, projection = fit_whitening(pooled, dimensions)
    whitened = (pooled - mean) @ projection
    assert whitened.shape[1] == min(dimensions, CHANNELS)
    np.testing.assert_allclose(np.cov(whitened.T, bias=True), np.eye(whitened.shape[1]), atol=1e-4)


def test_components_without_variance_are_not_kept(features):
    pooled = pool(features).numpy()
    _, projection = fit_whitening(pooled[:4], 256)
    assert projection.shape == (CHANNELS, 3)
    mean, projection = fit_whitening(np.repeat(pooled[:1], 5, axis=0), 256)
    np.testing.assert_allclose(mean, pooled[0], rtol=1e-6)
    assert projection.shape == (CHANNELS, 1) and np.isfinite(projection).all()


def test_nearest_images_are_those_of_numpy(features):
    pooled = pool(features).numpy()
    index = build(pooled[10:], 5)
    assert index.vectors.dtype == np.float16 and index.vectors.shape == (IMAGES - 10, 5)
    cosines, images = index.nearest(features[:10], 6)
    mean, projection = fit_whitening(pooled[10:], 5)
    vectors = (pooled - mean) @ projection
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    products = vectors[:10] @ vectors[10:].astype(np.float16).T
    order = np.argsort(-products, axis=1)[:, :6]
    np.testing.assert_array_equal(images, order)
    np.testing.assert_allclose(cosines, np.take_along_axis(products, order, axis=1), atol=1e-3)


def test_an_image_is_nearest_to_itself_and_the_first_of_equal_ones_comes_first(features):
    index = build(np.repeat(pool(features).numpy(), 2, axis=0), 256)
    cosines, images = index.nearest(features, 2)
    np.testing.assert_array_equal(images, 2 * np.arange(IMAGES)[:, np.newaxis] + [[0, 1]])
    np.testing.assert_allclose(cosines, 1, atol=2e-3)


def test_images_without_a_difference_are_all_alike(features):
    index = build(np.repeat(pool(features).numpy()[:1], 3, axis=0), 256)
    cosines, images = index.nearest(features[:2], 40)
    assert images.numpy().tolist() == [[0, 1, 2]] * 2
    assert np.isfinite(cosines).all()


def test_arrays_hold_the_index(features):
    index = build(pool(features).numpy(), 4)
    expected = index.nearest(features, 3)
    again = NeighborIndex.from_arrays(index.arrays())
    for found, before in zip(again.nearest(features, 3), expected, strict=True):
        np.testing.assert_array_equal(found, before)
    np.testing.assert_array_equal(again.captions, index.captions)
    assert again.frequencies.num_images == IMAGES
    with pytest.raises(KeyError):
        NeighborIndex.from_arrays({})
