"""Caption metrics: their registry, which needs no scoring library.

The keys of metrics.json, the dev columns of history.csv, the choices of `config.train.best_metric`
and the labels in tables, reports and model cards are derived from it.

A scorer is a function `(references, hypotheses) -> {key: MetricScore}`, called once for all the
metrics registered with it; see `scores.MetricScore`.
"""

from __future__ import annotations

from imcap.registry import Registry

METRICS = Registry("config.train.best_metric", {})
_LABELS: dict[str, str] = {}


def register(key: str, label: str, scorer: str) -> None:
    """Adds a metric.

    Args:
      key: its name in metrics.json, in history.csv (after `dev_`) and in the config.
      label: its name as papers print it.
      scorer: `module:function`, imported when captions are scored.
    """
    METRICS.register(key, scorer)
    _LABELS[key] = label


def label(key: str) -> str:
    """Returns a metric's name as papers print it; of another figure its key in words."""
    return _LABELS.get(key, key.replace("_", " "))


register("bleu1", "BLEU-1", "imcap.metrics.bleu:score_bleu")
register("bleu2", "BLEU-2", "imcap.metrics.bleu:score_bleu")
register("bleu3", "BLEU-3", "imcap.metrics.bleu:score_bleu")
register("bleu4", "BLEU-4", "imcap.metrics.bleu:score_bleu")
register("rouge_l", "ROUGE-L", "imcap.metrics.rouge:score_rouge_l")
register("cider", "CIDEr-D", "imcap.metrics.cider:score_cider_d")
