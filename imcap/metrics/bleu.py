"""BLEU-1 to BLEU-4 (Papineni et al., 2002), computed by NLTK.

The corpus figures are NLTK's `corpus_bleu`, uniform weights, no smoothing, and agree with
pycocoevalcap's `Bleu` to 1e-8 whenever at least one n-gram of that order matches:

- Reference length: no difference. Both take, for each image, the reference whose length is closest
  to the hypothesis' and the shorter one of two that are equally close.
- Captions of fewer than n words: NLTK counts each as one n-gram without a match, pycocoevalcap (and
  the paper) as none. `score_bleu` subtracts these again, so no difference is left; NLTK alone is
  lower.
- No n-gram of that order matches in the whole corpus: BLEU is 0, and `score_bleu` returns 0.0. NLTK
  alone returns about 1e-77 and a warning. pycocoevalcap adds 1e-15 to the matches and 1e-9 to the
  n-grams (the only difference that is left), and so returns a small positive figure: below 2e-4 for
  BLEU-4, but up to 0.032 where every caption is too short to hold an n-gram at all.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from fractions import Fraction

from nltk.translate import bleu_score

from imcap.metrics.scores import MetricScore

_ORDERS = (1, 2, 3, 4)
_UNIFORM_WEIGHTS = [(1 / n,) * n for n in _ORDERS]


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
        f"bleu{n}": MetricScore(bleu)
        for n, bleu in zip(_ORDERS, _corpus_bleu(words, predicted), strict=True)
    }
    return {**bleus, "bleu4": bleus["bleu4"]._replace(per_image=sentences)}


def _corpus_bleu(references: list[list[list[str]]], hypotheses: list[list[str]]) -> list[float]:
    """Returns NLTK's corpus BLEU-1..4 with exact precisions (see the module's docstring)."""
    too_short = [sum(len(words) < n for words in hypotheses) for n in _ORDERS]
    matches = [0] * len(_ORDERS)

    def exact_precisions(counted: Sequence[Fraction], **_: object) -> list[float]:
        # NLTK takes the logarithm of what this returns, so zeros are put in afterwards.
        matches[:] = [p.numerator for p in counted]
        return [
            p.numerator / (p.denominator - short) if p.numerator else sys.float_info.min
            for p, short in zip(counted, too_short, strict=True)
        ]

    bleus = bleu_score.corpus_bleu(
        references, hypotheses, _UNIFORM_WEIGHTS, smoothing_function=exact_precisions
    )
    return [
        float(bleu) if all(matches[:n]) else 0.0 for n, bleu in zip(_ORDERS, bleus, strict=True)
    ]
