"""Caption metrics: their registry, which needs no scoring library.

The keys of metrics.json, the dev columns of history.csv, the choices of `config.train.best_metric`
and the labels in tables, reports and model cards are derived from it.

A scorer is a function `(references, hypotheses) -> {key: MetricScore}`, called once for all the
metrics registered with it; see `scores.MetricScore`.

METRICS are always scored. OPTIONAL ones are scored by evaluation alone, where a setting asks for
them: they may be slow, need a file of the user's, or answer another question than "which weights
are the best?". Where they are not scored, they are absent from every file, table and page.
"""

from __future__ import annotations

from imcap.registry import Registry

METRICS = Registry("config.train.best_metric", {})
OPTIONAL = Registry("config.eval", {})
_LABELS: dict[str, str] = {}
_SETTINGS: dict[str, str] = {}
_CAVEATS: dict[str, str] = {}


def register(key: str, label: str, scorer: str) -> None:
    """Adds a metric.

    Args:
      key: its name in metrics.json, in history.csv (after `dev_`) and in the config.
      label: its name as papers print it.
      scorer: `module:function`, imported when captions are scored.
    """
    METRICS.register(key, scorer)
    _LABELS[key] = label


def register_optional(key: str, label: str, scorer: str, *, setting: str, caveat: str = "") -> None:
    """Adds a metric that is scored by evaluation where `config.eval[setting]` is not empty.

    Args:
      key: its name in metrics.json.
      label: its name in tables and reports.
      scorer: `module:function`, which takes the setting's value and returns a scorer. It is called
        before captions are predicted and raises UserError if the value cannot work.
      setting: the key in `config.eval`. All metrics of one setting have one scorer.
      caveat: a sentence to print above figures that are not comparable with the others and are
        shown apart from them; empty: shown among them.
    """
    OPTIONAL.register(key, scorer)
    _LABELS[key], _SETTINGS[key], _CAVEATS[key] = label, setting, caveat


def setting(key: str) -> str:
    """Returns the key in `config.eval` of an optional metric's setting."""
    return _SETTINGS[key]


def caveat(key: str) -> str:
    """Returns the sentence above a metric's figures; empty: they are comparable with the others."""
    return _CAVEATS.get(key, "")


def label(key: str) -> str:
    """Returns a metric's name as papers print it; of another figure its key in words."""
    return _LABELS.get(key, key.replace("_", " "))


register("bleu1", "BLEU-1", "imcap.metrics.bleu:score_bleu")
register("bleu2", "BLEU-2", "imcap.metrics.bleu:score_bleu")
register("bleu3", "BLEU-3", "imcap.metrics.bleu:score_bleu")
register("bleu4", "BLEU-4", "imcap.metrics.bleu:score_bleu")
register("rouge_l", "ROUGE-L", "imcap.metrics.rouge:score_rouge_l")
register("cider", "CIDEr-D", "imcap.metrics.cider:score_cider_d")

register_optional("meteor", "METEOR", "imcap.metrics.meteor:build_scorer", setting="meteor")
register_optional(
    "similarity_best", "Similarity, best", "imcap.metrics.similarity:build_scorer",
    setting="similarity_encoder",
)  # fmt: skip
register_optional(
    "similarity_mean", "Similarity, mean", "imcap.metrics.similarity:build_scorer",
    setting="similarity_encoder",
)  # fmt: skip

_MARKERS_CAVEAT = (
    "With startseq and endseq counted as words, as notebook projects count them: higher than BLEU, "
    "and not comparable with papers"
)
register_optional(
    "bleu1_markers", "BLEU-1 with markers", "imcap.metrics.bleu_markers:build_scorer",
    setting="markers", caveat=_MARKERS_CAVEAT,
)  # fmt: skip
register_optional(
    "bleu2_markers", "BLEU-2 with markers", "imcap.metrics.bleu_markers:build_scorer",
    setting="markers", caveat=_MARKERS_CAVEAT,
)  # fmt: skip
