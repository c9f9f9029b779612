"""Diversity reveals a captioner that repeats itself."""

from __future__ import annotations

from imcap.metrics.diversity import measure_diversity


def test_one_caption_for_every_image_is_not_diverse():
    same = measure_diversity({"x": "a dog runs", "y": "a dog runs"})
    assert same == {"distinct_captions": 1, "mean_words": 3.0, "vocabulary_used": 3}
    varied = measure_diversity({"x": "a dog", "y": "the dog runs far"})
    assert varied == {"distinct_captions": 2, "mean_words": 3.0, "vocabulary_used": 5}


def test_no_caption_gives_zeros():
    assert set(measure_diversity({}).values()) == {0}
