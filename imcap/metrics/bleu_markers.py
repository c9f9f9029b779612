"""BLEU-1 and BLEU-2 as notebook projects count them: for a comparison with such projects alone.

Many published notebooks on Flickr8k wrap every caption in the words `startseq` and `endseq`, leave
both in hypotheses and references, and call NLTK's `corpus_bleu`. The figures are inflated, because

- each hypothesis has two words that match in every reference, whatever the image shows: a caption
  of eight words of which four match has a BLEU-1 of .6 instead of .5;
- the pair of `startseq` and a common first word, or of a common last word and `endseq`, is one more
  bigram that nearly always matches;
- two more words bring the lengths of hypothesis and reference closer, which lowers the penalty for
  short captions.

They must not stand beside figures of papers, which never count markers. `metrics.bleu` counts words
as papers do.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping

from nltk.translate import bleu_score

from imcap.metrics.bleu import corpus_statistics
from imcap.metrics.scores import MetricScore, Scorer

_START, _END = "startseq", "endseq"
# As the projects write them, by key.
_WEIGHTS = {"bleu1_markers": (1.0, 0, 0, 0), "bleu2_markers": (0.5, 0.5, 0, 0)}


def build_scorer(markers: bool) -> Scorer:
    """Returns `score_bleu_with_markers`; `markers`: the setting, which is True."""
    return score_bleu_with_markers


def score_bleu_with_markers(
    references: Mapping[str, list[str]], hypotheses: Mapping[str, str]
) -> dict[str, MetricScore]:
    """Returns `bleu1_markers` and `bleu2_markers` of the corpus.

    Captions come without markers, as every scorer gets them; the markers are put on here. A caption
    that the search cut at its longest gets `endseq`, too, which the projects' own would lack.
    """
    actual = [[_wrap(caption) for caption in captions] for captions in references.values()]
    predicted = [_wrap(caption) for caption in hypotheses.values()]
    with warnings.catch_warnings():
        # NLTK warns if no 3-gram or 4-gram matches; their weight is 0.
        warnings.simplefilter("ignore", UserWarning)
        bleus = bleu_score.corpus_bleu(actual, predicted, list(_WEIGHTS.values()))
    statistics = corpus_statistics(actual, predicted)[: len(_WEIGHTS)]
    return {
        key: MetricScore(float(bleu), statistics=own)
        for key, bleu, own in zip(_WEIGHTS, bleus, statistics, strict=True)
    }


def _wrap(caption: str) -> list[str]:
    return f"{_START} {caption} {_END}".split()
