"""The files of evaluations: their names, and the metrics.json of every evaluated split."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from imcap import filesystem
from imcap.errors import UserError

METRICS_FILE = "metrics.json"
PREDICTIONS_FILE, REFERENCES_FILE = "predictions.json", "references.json"
INTERVALS = "intervals_95"  # In metrics.json: metric key -> the two ends of its 95 % interval.
Scores = dict[str, Any]  # The content of a metrics.json.


def folder(workdir: str, split: str, *names: str) -> str:
    """Returns where the evaluation of a split is written.

    Args:
      workdir: the run's folder.
      split: its name.
      names: of what is not as usual, such as the checkpoint `epoch-7` or the reranking `consensus`,
        whose evaluation lies beside that of the best checkpoint's plain search.
    """
    return os.path.join(workdir, "eval", "-".join([split, *names]))


def workdir(evaluation: str) -> str:
    """Returns the run's folder of an evaluation that lies where `folder` says."""
    return os.path.dirname(os.path.dirname(os.path.abspath(evaluation)))


def read_scores(workdir: str) -> dict[str, Scores]:
    """Returns the content of each metrics.json in a workdir, by the name of its folder: `SPLIT`,
    or another one beside it (`folder`).

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


def scores_of(workdir: str, weights: Mapping[str, Any], decode: ConfigDict) -> dict[str, Scores]:
    """Returns split -> the content of its metrics.json, of the evaluations of some weights with
    the same reranking and views.

    Args:
      workdir: the run's folder.
      weights: their `step`, or the `members` of which each has its own.
      decode: a config's `decode` part; `rerank` and `both_views` are read.

    Raises:
      UserError: as `read_scores`.
    """
    step, members = weights.get("step"), weights.get("members")
    # Those of imcap 0.1.0 do not tell their step; only what differs from a plain search is told.
    return {
        str(scores["split"]): scores
        for scores in read_scores(workdir).values()
        if scores.get("members") == members
        and scores.get("step", step) == step
        and scores.get("rerank", "none") == decode.rerank
        and scores.get("both_views", False) == decode.both_views
    }
