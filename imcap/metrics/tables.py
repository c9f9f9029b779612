"""The scores that evaluations have written: reading metrics.json, and a table of them."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping, Sequence

from imcap import filesystem, metrics
from imcap.errors import UserError

METRICS_FILE = "metrics.json"


def read_scores(workdir: str) -> dict[str, dict[str, float | int | str]]:
    """Returns split -> the content of its metrics.json, for each split evaluated in a workdir.

    Raises:
      UserError: a metrics.json is corrupted.
    """
    found = {}
    for path in sorted(glob.glob(os.path.join(glob.escape(workdir), "eval", "*", METRICS_FILE))):
        scores = filesystem.read_json(path)
        if not isinstance(scores, dict) or "images" not in scores:
            raise UserError(f"{path} is corrupted: run `imcap eval` again")
        found[os.path.basename(os.path.dirname(path))] = scores
    return found


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
        found = read_scores(workdir)
        if not found:
            raise UserError(f"{workdir} holds no scores: run `imcap eval` first")
        for split, scores in found.items():
            lines.append(_row(workdir, split, str(scores["images"]), format_figures(scores)))
    return "\n".join(lines)


def _row(run: str, split: str, images: str, figures: Sequence[str]) -> str:
    return " ".join([f"{run:24} {split:6} {images:>6}", *(f"{figure:>8}" for figure in figures)])
