"""BLEU agrees with NLTK and pycocoevalcap, except where the documentation says so."""

from __future__ import annotations

import math

import pytest
from corpora import bleus, coco_score, make_corpus
from nltk.translate import bleu_score
from pycocoevalcap.bleu.bleu import Bleu

from imcap.metrics.scores import score_captions


def test_bleu_equals_nltk_if_every_caption_has_four_words():
    refs, hyps = make_corpus(60, words=(4, 14))
    nltks = bleu_score.corpus_bleu(
        [[caption.split() for caption in refs[i]] for i in refs],
        [hyps[i].split() for i in refs],
        [(1,), (1 / 2,) * 2, (1 / 3,) * 3, (1 / 4,) * 4],
    )
    assert bleus(score_captions(refs, hyps)) == pytest.approx(nltks, abs=1e-12)


def test_short_caption_has_no_ngrams_to_match():
    refs = {"long": ["a black dog runs on the grass"], "short": ["a dog"]}
    hyps = {"long": "a black dog runs on the grass", "short": "a dog"}
    assert bleus(score_captions(refs, hyps)) == pytest.approx([1, 1, 1, 1], abs=1e-12)


def test_shorter_of_two_equally_close_references_sets_the_length():
    refs = {"x": ["a b c d e f g", "a b c d e f g h i"]}  # 7 and 9 words against 8: no penalty
    hyps = {"x": "a b c d e f g h"}
    assert score_captions(refs, hyps).corpus["bleu4"] == pytest.approx(1.0, abs=1e-12)
    penalized = {"x": ["a b c d e f g h i"]}
    assert score_captions(penalized, hyps).corpus["bleu4"] == pytest.approx(math.exp(1 - 9 / 8))


def test_bleu_clips_repeated_words():
    scores = score_captions({"x": ["the cat sits on the mat"]}, {"x": "the the the cat sits on"})
    # 5 of 6 words (the third "the" is clipped), 3 of 5 bigrams, 2 of 4 trigrams, 1 of 3 4-grams.
    exact = [5 / 6, (5 / 6 * 3 / 5) ** (1 / 2), (5 / 6 * 3 / 5 * 2 / 4) ** (1 / 3)]
    exact.append((5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** (1 / 4))
    assert bleus(scores) == pytest.approx(exact, abs=1e-12)


def test_documented_difference_from_pycocoevalcap():
    refs, hyps = {"x": ["a dog runs on grass"]}, {"x": "a dog runs"}
    theirs = coco_score(Bleu(4), refs, hyps, verbose=0)[0]
    ours = bleus(score_captions(refs, hyps))
    assert ours[:3] == pytest.approx(theirs[:3], abs=1e-6)
    assert ours[3] == 0.0 < theirs[3] < 0.032


def test_per_image_bleu_is_add_one_smoothed():
    scores = score_captions({"x": ["a dog runs on grass"]}, {"x": "a dog sits on grass"})
    # 4 of 5 words; 2, 0 and 0 of the 4, 3 and 2 longer n-grams, with one added to each count.
    assert scores.per_image["x"]["bleu4"] == pytest.approx((4 / 5 * 3 / 5 * 1 / 4 * 1 / 3) ** 0.25)
