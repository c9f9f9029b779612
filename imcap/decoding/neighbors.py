"""The training images that look most like an image, with their captions, in graph.

An image's vector is the signed square root of its mean features, whitened by principal components
(Jégou and Chum, 2012) and of length 1; images are compared by the cosine of their vectors.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from imcap.metrics.document_frequencies import DocumentFrequencies

_BLOCK = 1024  # Vectors at a time.
_NOISE = 1e-6  # A component of less variance, as a share of the largest, is not kept.
_FREQUENCIES = "frequencies."  # How the names of their arrays begin.


@dataclasses.dataclass(frozen=True, eq=False)
class NeighborIndex:
    """Training images to search, and the document frequencies of their captions' n-grams.

    Attributes:
      mean: float32 [channels], of the images' pooled features.
      projection: float32 [channels, dimensions], whitening.
      vectors: float16 [images, dimensions], of length 1.
      captions: uint16 [images, captions, length], token ids without START and END, 0 where a
        caption or the list of captions ends.
      frequencies: of the n-grams of the images' captions.
    """

    mean: np.ndarray
    projection: np.ndarray
    vectors: np.ndarray
    captions: np.ndarray
    frequencies: DocumentFrequencies

    @classmethod
    def build(
        cls,
        pooled: np.ndarray,
        captions: np.ndarray,
        frequencies: DocumentFrequencies,
        dimensions: int,
    ) -> NeighborIndex:
        """Computes the index.

        Args:
          pooled: float32 [images, channels], `pool` of their features; at least one image.
          captions: as the attribute.
          frequencies: of the captions' n-grams.
          dimensions: of the vectors at most; they have fewer where there are fewer images or
            channels.
        """
        mean, projection = fit_whitening(pooled, dimensions)
        blocks = range(0, len(pooled), _BLOCK)
        vectors = [_project(pooled[i : i + _BLOCK], mean, projection).numpy() for i in blocks]
        rounded = np.concatenate(vectors).astype(np.float16)
        return cls(mean, projection, rounded, captions, frequencies)

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns everything as arrays by name, as a file holds it."""
        own = {name: getattr(self, name) for name in _ARRAYS}
        frequencies = self.frequencies.arrays()
        return own | {_FREQUENCIES + name: array for name, array in frequencies.items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> NeighborIndex:
        """Returns what `arrays` was called on; raises KeyError if an array is missing."""
        prefixed = {k: array for k, array in arrays.items() if k.startswith(_FREQUENCIES)}
        frequencies = {k.removeprefix(_FREQUENCIES): array for k, array in prefixed.items()}
        own = {name: arrays[name] for name in _ARRAYS}
        return cls(**own, frequencies=DocumentFrequencies.from_arrays(frequencies))

    def nearest(self, features: tf.Tensor, count: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the images nearest to others, the nearest one first.

        Args:
          features: [batch, positions, channels], any float dtype.
          count: images wanted; all, if there are fewer.

        Returns:
          Their cosines, float32 [batch, count], and their places in the index, int32 [batch,
          count]; of equal cosines the one that comes first in the index.
        """
        mean, projection, vectors = self._constants
        queries = _project(pool(features), mean, projection)
        cosines = tf.matmul(queries, tf.cast(vectors, tf.float32), transpose_b=True)
        return tf.math.top_k(cosines, min(count, len(self.vectors)))

    @functools.cached_property
    def _constants(self) -> list[tf.Tensor]:
        # Outside of any graph: each graph captures them, and a SavedModel holds them once.
        with tf.init_scope():
            return [tf.constant(x) for x in (self.mean, self.projection, self.vectors)]


_ARRAYS = ("mean", "projection", "vectors", "captions")


def pool(features: tf.Tensor) -> tf.Tensor:
    """Returns the signed square roots of the features' means over the positions.

    [batch, positions, channels] in any float dtype to float32 [batch, channels].
    """
    mean = tf.reduce_mean(tf.cast(features, tf.float32), axis=1)
    return tf.sign(mean) * tf.sqrt(tf.abs(mean))


def _project(pooled: tf.Tensor, mean: np.ndarray, projection: np.ndarray) -> tf.Tensor:
    """float32 [batch, channels] to vectors of length 1 (or 0), float32 [batch, dimensions]."""
    return tf.math.l2_normalize(tf.matmul(pooled - mean, projection), axis=1)


def fit_whitening(vectors: np.ndarray, dimensions: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and projection that make a set of vectors uncorrelated and of variance 1.

    Args:
      vectors: float32 [n, channels], n at least 1.
      dimensions: principal components kept at most; those of no variance are not kept, but one.

    Returns:
      float32 [channels] and float32 [channels, at most dimensions].
    """
    mean = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    covariance = np.zeros((vectors.shape[1],) * 2)
    for start in range(0, len(vectors), _BLOCK):
        centred = (vectors[start : start + _BLOCK] - mean).astype(np.float64)
        covariance += centred.T @ centred / len(vectors)
    variances, axes = np.linalg.eigh(covariance)
    variances, axes = variances[::-1], axes[:, ::-1]
    kept = int(np.sum(variances[:dimensions] > _NOISE * variances[0])) or 1
    axes = axes[:, :kept] / np.sqrt(np.maximum(variances[:kept], np.finfo(np.float32).tiny))
    # An axis has no direction of its own: the sign of its largest number makes it the same always.
    largest = np.abs(axes).argmax(axis=0)
    axes *= np.sign(axes[largest, np.arange(kept)])
    return mean, axes.astype(np.float32)
