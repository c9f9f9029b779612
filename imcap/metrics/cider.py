"""CIDEr-D (Vedantam et al., 2015), computed by pycocoevalcap.

Its `Cider` computes CIDEr-D (clipped counts, Gaussian length penalty with sigma 6, times 10), not
plain CIDEr. Document frequencies are those of the references that are scored, so a figure depends
on its set of images, and for a single image it is 0 (the idf of every n-gram is log 1).
"""

from __future__ import annotations

from collections.abc import Mapping

from pycocoevalcap.cider.cider import Cider

from imcap.metrics.scores import MetricScore


def score_cider_d(
    references: Mapping[str, list[str]], hypotheses: Mapping[str, str]
) -> dict[str, MetricScore]:
    """Returns `cider`: CIDEr-D of each image, and their mean."""
    if not any(caption for captions in references.values() for caption in captions):
        # The scorer fails if no reference has a word.
        return {"cider": MetricScore(0.0, [0.0] * len(references))}
    lists = {image_id: [caption] for image_id, caption in hypotheses.items()}
    return {"cider": MetricScore(*Cider().compute_score(references, lists))}
