"""metrics.json of every evaluated split."""

from __future__ import annotations

import glob
import os

from imcap import filesystem
from imcap.errors import UserError

METRICS_FILE = "metrics.json"
Scores = dict[str, float | int | str]  # The content of a metrics.json.


def read_scores(workdir: str) -> dict[str, Scores]:
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
