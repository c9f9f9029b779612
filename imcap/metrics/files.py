"""metrics.json of every evaluated split."""

from __future__ import annotations

import glob
import os

from imcap import filesystem
from imcap.errors import UserError

METRICS_FILE = "metrics.json"
Scores = dict[str, float | int | str]  # The content of a metrics.json.


def folder(workdir: str, split: str, checkpoint: str = "") -> str:
    """Returns where the evaluation of a split is written.

    Args:
      workdir: the run's folder.
      split: its name.
      checkpoint: a name such as `epoch-7`, whose evaluation lies beside that of the best one; empty
        for the best.
    """
    return os.path.join(workdir, "eval", f"{split}-{checkpoint}" if checkpoint else split)


def read_scores(workdir: str) -> dict[str, Scores]:
    """Returns the content of each metrics.json in a workdir, by the name of its folder: `SPLIT`,
    or `SPLIT-CHECKPOINT` where other weights than the best were evaluated.

    Raises:
      UserError: a metrics.json is corrupted.
    """
    found = {}
    paths = glob.glob(os.path.join(glob.escape(workdir), "eval", "*", METRICS_FILE))
    for path in sorted(paths, key=os.path.dirname):
        scores = filesystem.read_json(path)
        if not isinstance(scores, dict) or "images" not in scores:
            raise UserError(f"{path} is corrupted: run `imcap eval` again")
        found[os.path.basename(os.path.dirname(path))] = scores
    return found
