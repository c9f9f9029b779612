"""Confidence intervals of corpus scores, and tests of the difference between two systems.

- Intervals are percentile bootstrap intervals (Efron and Tibshirani, 1993): the images are drawn
  with replacement, as many as there are, and the score of each draw is taken. For two systems the
  same draws are taken of both (Koehn, 2004, "Statistical significance tests for machine translation
  evaluation").
- p-values are of paired approximate randomization, two-sided (Riezler and Maxwell, 2005, "On some
  pitfalls in automatic evaluation and significance testing for MT"; Noreen, 1989): each image's two
  captions change systems with probability 1/2, as they might if the systems did not differ.

A score is computed from sums over the images (`Statistics`), so that a draw is a sum with weights
and the captions are scored only once. What depends on the whole set of references, as CIDEr-D's
document frequencies do, stays as it is for the whole set. All draws are seeded: the same captions
have the same intervals and p-values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

RESAMPLES = 1_000  # Draws of images, for an interval.
PERMUTATIONS = 10_000  # Of the images' pairs of captions, for a p-value.
CONFIDENCE = 0.95
_SEED = 0
_DIGITS = 6  # Of an interval's ends, whose further ones depend on the order of sums.
_BLOCK = 1 << 22  # Weights held at a time: 32 MiB.
_TOLERANCE = 1e-12  # Of a difference that is as large as another but for rounding.

Interval = tuple[float, float]  # Its lower and its upper end.


class Statistics(NamedTuple):
    """What a corpus score is computed from.

    Attributes:
      per_image: float64 [images, n].
      combine: from their sums over images, float64 [..., n], to the score, float64 [...].
    """

    per_image: np.ndarray
    combine: Callable[[np.ndarray], np.ndarray]

    def score(self) -> float:
        """Returns the score of all images."""
        return float(self.combine(self.per_image.sum(axis=0)))


class Comparison(NamedTuple):
    """Two systems, A and B, by one score.

    Attributes:
      difference: B's score minus A's.
      interval: of the difference.
      p_value: how often a difference at least as large, in either direction, is seen where each
        image's captions are exchanged at random.
      better: share of the bootstrap's draws in which B's score is higher.
    """

    difference: float
    interval: Interval
    p_value: float
    better: float


def mean(values: Sequence[float]) -> Statistics:
    """Returns the statistics of a score that is the mean of the images' own."""
    own = np.asarray(values, np.float64)
    return Statistics(np.stack([own, np.ones_like(own)], axis=1), _divide)


def _divide(sums: np.ndarray) -> np.ndarray:
    return sums[..., 0] / sums[..., 1]


def intervals(scores: Mapping[str, Statistics]) -> dict[str, Interval]:
    """Returns metric key -> the 95 % bootstrap interval of the corpus score.

    Args:
      scores: metric key -> its statistics, all of the same images in the same order.
    """
    return {key: _interval(values) for key, values in _bootstrap(scores).items()}


def compare(a: Mapping[str, Statistics], b: Mapping[str, Statistics]) -> dict[str, Comparison]:
    """Returns metric key -> the comparison of two systems, of the metrics that both have.

    Args:
      a, b: metric key -> the system's statistics, all of the same images in the same order.
    """
    keys = [key for key in a if key in b]
    a, b = ({key: scores[key] for key in keys} for scores in (a, b))
    draws_a, draws_b = _bootstrap(a), _bootstrap(b)
    p_values = _p_values(a, b)
    return {
        key: Comparison(
            b[key].score() - a[key].score(),
            _interval(draws_b[key] - draws_a[key]),
            p_values[key],
            float(np.mean(draws_b[key] > draws_a[key])),
        )
        for key in keys
    }


def _interval(values: np.ndarray) -> Interval:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return round(float(low), _DIGITS), round(float(high), _DIGITS)


def _bootstrap(scores: Mapping[str, Statistics]) -> dict[str, np.ndarray]:
    """Returns metric key -> the score of each draw, float64 [RESAMPLES]."""
    found: dict[str, list[np.ndarray]] = {key: [] for key in scores}
    for weights in _draws(_num_images(scores)):
        for key, statistics in scores.items():
            found[key].append(statistics.combine(weights @ statistics.per_image))
    return {key: np.concatenate(values) for key, values in found.items()}


def _draws(images: int) -> Iterator[np.ndarray]:
    """Yields how often each image is drawn, float64 [draws, images], RESAMPLES draws in all."""
    rng = np.random.default_rng(_SEED)
    for rows in _block_sizes(RESAMPLES, images):
        cells = rng.integers(images, size=(rows, images)) + images * np.arange(rows)[:, np.newaxis]
        counts = np.bincount(cells.ravel(), minlength=rows * images)
        yield counts.reshape(rows, images).astype(np.float64)


def _p_values(a: Mapping[str, Statistics], b: Mapping[str, Statistics]) -> dict[str, float]:
    """Returns metric key -> the p-value; the observed assignment is one of those counted."""
    images, counts = _num_images(a), dict.fromkeys(a, 1)
    rng = np.random.default_rng(_SEED)
    for rows in _block_sizes(PERMUTATIONS, images):
        is_exchanged = rng.integers(2, size=(rows, images), dtype=np.int8).astype(np.float64)
        for key, count in counts.items():
            differences = np.abs(_exchanged_differences(a[key], b[key], is_exchanged))
            observed = abs(b[key].score() - a[key].score())
            counts[key] = count + int(np.sum(differences >= observed - _TOLERANCE))
    return {key: count / (PERMUTATIONS + 1) for key, count in counts.items()}


def _exchanged_differences(a: Statistics, b: Statistics, is_exchanged: np.ndarray) -> np.ndarray:
    """Returns the differences, [rows], where images are exchanged, 0.0 or 1.0 [rows, images]."""
    moved = is_exchanged @ (b.per_image - a.per_image)
    sums_a, sums_b = a.per_image.sum(axis=0), b.per_image.sum(axis=0)
    return b.combine(sums_b - moved) - a.combine(sums_a + moved)


def _num_images(scores: Mapping[str, Statistics]) -> int:
    return max((len(statistics.per_image) for statistics in scores.values()), default=1)


def _block_sizes(rows: int, images: int) -> Iterator[int]:
    """Yields how many rows of weights to hold at a time."""
    most = max(1, _BLOCK // images)
    for start in range(0, rows, most):
        yield min(most, rows - start)
