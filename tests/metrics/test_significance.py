"""Bootstrap intervals and paired tests, beside exact values and the scorers themselves."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
from corpora import make_corpus

from imcap import config as config_lib
from imcap.metrics import bleu, significance
from imcap.metrics.scores import build_optional_scorers, score_captions


def values(seed: int, images: int = 400, location: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(location, 1.0, images)


def corpus_scores(images: int, seed: int = 0):
    return score_captions(*make_corpus(images, seed))


def test_interval_of_a_mean_is_that_of_the_normal_distribution():
    sample = values(0)
    low, high = significance.intervals({"x": significance.mean(sample)})["x"]
    half = 1.96 * sample.std() / np.sqrt(len(sample))
    assert (low, high) == pytest.approx(
        (sample.mean() - half, sample.mean() + half), abs=0.1 * half
    )


def test_95_percent_intervals_hold_the_true_mean_about_95_times_in_100():
    found = [
        significance.intervals({"x": significance.mean(values(s, 100))})["x"] for s in range(200)
    ]
    assert 180 <= sum(low <= 0 <= high for low, high in found) <= 199


def test_scores_of_drawn_images_are_those_of_the_scorers():
    references, hypotheses = make_corpus(40)
    scores = score_captions(references, hypotheses)
    drawn = np.random.default_rng(1).integers(40, size=40)
    ids = list(references)
    resampled = [
        {str(i): texts[ids[image]] for i, image in enumerate(drawn)}
        for texts in (references, hypotheses)
    ]
    expected = score_captions(*resampled).corpus
    for key in ("bleu1", "bleu2", "bleu3", "bleu4", "rouge_l"):
        per_image, combine = scores.statistics[key]
        assert float(combine(per_image[drawn].sum(axis=0))) == pytest.approx(
            expected[key], abs=1e-12
        )


def test_cider_is_resampled_with_the_document_frequencies_of_the_whole_set():
    scores = corpus_scores(40)
    per_image, combine = scores.statistics["cider"]
    own = [image["cider"] for image in scores.per_image.values()]
    assert float(combine(per_image[:7].sum(axis=0))) == pytest.approx(np.mean(own[:7]))


def test_statistics_of_all_images_give_the_corpus_scores():
    settings = config_lib.default().eval
    settings.markers = True
    scores = score_captions(*make_corpus(60), build_optional_scorers(settings))
    assert scores.statistics.keys() == scores.corpus.keys() >= {"bleu2_markers", "cider"}
    for key, statistics in scores.statistics.items():
        assert statistics.score() == pytest.approx(scores.corpus[key], abs=1e-12)


def test_bleu_of_draws_without_a_match_is_zero():
    statistics = bleu.corpus_statistics([[["a", "dog"]], [["a", "cat"]]], [["a", "dog"], ["sea"]])
    low, high = significance.intervals({"bleu1": statistics[0]})["bleu1"]
    assert (low, high) == (0.0, 1.0)
    assert significance.intervals({"bleu4": statistics[3]}) == {"bleu4": (0.0, 0.0)}


def test_same_captions_have_the_same_intervals():
    assert corpus_scores(30).intervals == corpus_scores(30).intervals


def test_p_value_agrees_with_all_exchanges():
    a, b = values(3, 10), values(4, 10, 0.6)
    found = significance.compare({"x": significance.mean(a)}, {"x": significance.mean(b)})["x"]
    signs = np.array(list(itertools.product((1, -1), repeat=10)))
    differences = np.abs(signs @ (b - a)) / 10
    exact = np.mean(differences >= abs(b.mean() - a.mean()) - 1e-12)
    assert found.p_value == pytest.approx(exact, abs=0.02)
    assert found.difference == pytest.approx(b.mean() - a.mean())


def test_systems_with_the_same_captions_do_not_differ():
    scores = corpus_scores(30).statistics
    for found in significance.compare(scores, scores).values():
        assert found == significance.Comparison(0.0, (0.0, 0.0), 1.0, 0.0)


def test_p_values_of_systems_that_do_not_differ_are_uniform():
    p_values = [
        significance.compare(
            {"x": significance.mean(values(2 * seed, 50))},
            {"x": significance.mean(values(2 * seed + 1, 50))},
        )["x"].p_value
        for seed in range(40)
    ]
    assert 0.3 < np.mean(p_values) < 0.7
    assert sum(p < 0.05 for p in p_values) <= 6


def test_a_clear_difference_is_significant_in_its_direction():
    references, good = make_corpus(120)
    poor = dict.fromkeys(good, "a red dog")
    scores = [score_captions(references, captions).statistics for captions in (poor, good)]
    for key, found in significance.compare(*scores).items():
        assert found.p_value == pytest.approx(1e-4, rel=1e-3), key
        low, high = found.interval
        assert 0 < low < found.difference < high
        assert found.better == 1.0
    backwards = significance.compare(*reversed(scores))
    assert all(found.difference < 0 and found.better == 0.0 for found in backwards.values())


def test_a_paired_interval_is_narrower_than_two_of_their_own():
    noise, gain = values(5), 0.05 * values(6)
    a, b = significance.mean(noise), significance.mean(noise + gain)
    low, high = significance.compare({"x": a}, {"x": b})["x"].interval
    own_low, own_high = significance.intervals({"x": a})["x"]
    assert high - low < 0.2 * (own_high - own_low)


def test_more_images_than_a_block_holds_are_drawn_in_parts():
    sample = values(7, 5_000)
    low, high = significance.intervals({"x": significance.mean(sample)})["x"]
    half = 1.96 * sample.std() / np.sqrt(len(sample))
    assert (high - low) / 2 == pytest.approx(half, rel=0.1)


def test_intervals_of_a_thousand_images_take_less_than_a_second():
    scores = score_captions(*make_corpus(1000, references=(5, 5), words=(8, 12)))
    start = time.process_time()
    assert len(scores.intervals) == 6
    assert time.process_time() - start < 1  # 0.06 s on a common core.
