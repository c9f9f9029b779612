"""Tables of the scores that evaluations have written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from imcap import metrics
from imcap.errors import UserError
from imcap.metrics import files


def format_figures(scores: Mapping[str, float | int | str]) -> list[str]:
    """Returns the figure of every metric in the registry's order, `–` for one not computed."""
    return [f"{scores[key]:.3f}" if key in scores else "–" for key in metrics.METRICS]


def format_table(workdirs: Sequence[str]) -> str:
    """Returns a text table of all scores in `workdirs`, a line per run and split.

    Raises:
      UserError: a workdir holds none.
    """
    labels = [metrics.label(key) for key in metrics.METRICS]
    lines = [_row("run", "split", "images", labels)]
    for workdir in workdirs:
        found = files.read_scores(workdir)
        if not found:
            raise UserError(f"{workdir} holds no scores: run `imcap eval` first")
        for split, scores in found.items():
            lines.append(_row(workdir, split, str(scores["images"]), format_figures(scores)))
    return "\n".join(lines)


def _row(run: str, split: str, images: str, figures: Sequence[str]) -> str:
    return " ".join([f"{run:24} {split:6} {images:>6}", *(f"{figure:>8}" for figure in figures)])
