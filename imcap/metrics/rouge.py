"""ROUGE-L (Lin, 2004), computed by pycocoevalcap."""

from __future__ import annotations

from collections.abc import Mapping

from pycocoevalcap.rouge.rouge import Rouge

from imcap.metrics.scores import MetricScore


def score_rouge_l(
    references: Mapping[str, list[str]], hypotheses: Mapping[str, str]
) -> dict[str, MetricScore]:
    """Returns `rouge_l`: the F-measure (beta 1.2) of each image, and their mean."""
    lists = {image_id: [caption] for image_id, caption in hypotheses.items()}
    return {"rouge_l": MetricScore(*Rouge().compute_score(references, lists))}
