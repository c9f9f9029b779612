"""The vocabulary transform, on Beam's own runner."""

from __future__ import annotations

import collections
import random

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to

from beam_jobs.transforms.vocabulary import BuildVocabulary
from imcap import text

CAPTIONS = ["A dog, a boat!", "the DOG's boat", "The boat", "", "…", "Zwei Boote, zwei Hunde"]


def build(captions: list[str], *settings: int, expected: list[str]) -> None:
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        lines = pipeline | beam.Create(captions) | BuildVocabulary(*settings)
        assert_that(lines, equal_to([["[START]", "[END]", *expected]]))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ((1, 100), ["boat", "a", "the", "zwei", "boote", "dog", "dogs", "hunde"]),
        ((2, 100), ["boat", "a", "the", "zwei"]),
        ((1, 3), ["boat", "a", "the"]),
        ((4, 100), []),
    ],
)
def test_words_come_by_count_and_then_by_name(settings, expected):
    build(CAPTIONS, *settings, expected=expected)


def test_without_captions_only_the_markers_are_left():
    build([], 1, 100, expected=[])


def test_many_captions_count_as_in_one_pass():
    rng = random.Random(0)
    words = [f"w{number}" for number in range(60)]
    captions = [" ".join(rng.choices(words, k=3)) for _ in range(5_000)]
    counts = collections.Counter(" ".join(captions).split())
    expected = text.choose_vocabulary(counts.items(), 240, 100)[2:]
    assert 0 < len(expected) < 60
    build(captions, 240, 100, expected=expected)
