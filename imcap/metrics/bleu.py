"""BLEU-1 to BLEU-4 (Papineni et al., 2002), from the counts that NLTK takes of each image.

The corpus figures are those of NLTK's `corpus_bleu`, uniform weights, no smoothing, and agree with
pycocoevalcap's `Bleu` to 1e-8 whenever at least one n-gram of that order matches:

- Reference length: no difference. Both take, for each image, the reference whose length is closest
  to the hypothesis' and the shorter one of two that are equally close.
- Captions of fewer than n words: NLTK counts each as one n-gram without a match, pycocoevalcap (and
  the paper) as none, and so does `score_bleu`; `corpus_bleu` is lower.
- No n-gram of that order matches in the whole corpus: BLEU is 0, and `score_bleu` returns 0.0. NLTK
  alone returns about 1e-77 and a warning. pycocoevalcap adds 1e-15 to the matches and 1e-9 to the
  n-grams (the only difference that is left), and so returns a small positive figure: below 2e-4 for
  BLEU-4, but up to 0.032 where every caption is too short to hold an n-gram at all.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

import numpy as np
from nltk.translate import bleu_score

from imcap.metrics.scores import MetricScore
from imcap.metrics.significance import Statistics

_ORDERS = (1, 2, 3, 4)


def score_bleu(
    references: Mapping[str, list[str]], hypotheses: Mapping[str, str]
) -> dict[str, MetricScore]:
    """Returns `bleu1` to `bleu4` of the corpus, and each image's `bleu4`.

    An image's `bleu4` is sentence BLEU with one added to the counts of 2- to 4-grams (NLTK's
    `SmoothingFunction().method2`; Lin and Och, 2004), suited to ranking images; its mean is not the
    corpus BLEU.
    """
    words = [[caption.split() for caption in captions] for captions in references.values()]
    predicted = [caption.split() for caption in hypotheses.values()]
    add_one = bleu_score.SmoothingFunction().method2
    sentences = [
        bleu_score.sentence_bleu(captions, hypothesis, smoothing_function=add_one)
        for captions, hypothesis in zip(words, predicted, strict=True)
    ]
    bleus = {
        f"bleu{n}": MetricScore(statistics.score(), statistics=statistics)
        for n, statistics in zip(_ORDERS, corpus_statistics(words, predicted), strict=True)
    }
    return {**bleus, "bleu4": bleus["bleu4"]._replace(per_image=sentences)}


def corpus_statistics(
    references: list[list[list[str]]], hypotheses: list[list[str]]
) -> list[Statistics]:
    """Returns the statistics of BLEU-1 to BLEU-4.

    Args:
      references: of each image, the words of each reference.
      hypotheses: of each image, the words of its caption.
    """
    counts = [
        [
            *(bleu_score.modified_precision(captions, words, n).numerator for n in _ORDERS),
            *(max(0, len(words) - n + 1) for n in _ORDERS),
            len(words),
            bleu_score.closest_ref_length(captions, len(words)),
        ]
        for captions, words in zip(references, hypotheses, strict=True)
    ]
    per_image = np.array(counts, np.float64)
    return [Statistics(per_image, functools.partial(_bleu, order=n)) for n in _ORDERS]


def _bleu(sums: np.ndarray, order: int) -> np.ndarray:
    """Returns BLEU from sums of matches and n-grams of four orders, of words and reference words.

    float64 [..., 10] to [...].
    """
    matches, ngrams = sums[..., :order], sums[..., len(_ORDERS) : len(_ORDERS) + order]
    words, reference_words = sums[..., -2], sums[..., -1]
    is_zero = np.any(matches == 0, axis=-1)
    precisions = np.where(is_zero[..., np.newaxis], 1.0, matches / np.maximum(ngrams, 1.0))
    logarithm = np.mean(np.log(precisions), axis=-1)
    penalty = np.minimum(0.0, 1.0 - reference_words / np.maximum(words, 1.0))
    return np.where(is_zero, 0.0, np.exp(logarithm + penalty))
