"""Similarity in meaning: cosines of captions' sentence embeddings.

Unlike n-gram metrics it counts other words for the same thing, but it says little of whether a
caption is true or fluent: `a dog runs` and `a cat runs` are similar. Figures of different encoders
cannot be compared.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

import numpy as np

from imcap.metrics.scores import MetricScore, Scorer
from imcap.metrics.sentence_encoder import SentenceEncoder


def build_scorer(folder: str) -> Scorer:
    """Returns `score_similarity` with the encoder that lies in a folder.

    Raises:
      UserError: there is none that can be read; see `SentenceEncoder`.
    """
    return functools.partial(score_similarity, SentenceEncoder(folder))


def score_similarity(
    encoder: SentenceEncoder, references: Mapping[str, list[str]], hypotheses: Mapping[str, str]
) -> dict[str, MetricScore]:
    """Returns `similarity_best` and `similarity_mean`, each in [-1, 1].

    Of each image they are the largest and the mean cosine of the hypothesis with its references,
    of the corpus the means of these over the images. The cosine with each reference is
    `similarity_best`'s `per_reference`. An empty caption has a vector, too: that of a sentence
    without words.
    """
    sentences = {*hypotheses.values()}.union(*references.values())
    rows = {sentence: row for row, sentence in enumerate(sorted(sentences))}
    vectors = encoder.embed(list(rows))
    cosines = [
        (vectors[[rows[caption] for caption in captions]] @ vectors[rows[hypotheses[key]]]).tolist()
        for key, captions in references.items()
    ]
    best, mean = [max(each) for each in cosines], [float(np.mean(each)) for each in cosines]
    return {
        "similarity_best": MetricScore(float(np.mean(best)), best, cosines),
        "similarity_mean": MetricScore(float(np.mean(mean)), mean),
    }
