"""A further metric is one file and one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import processes

_FILE = """
from imcap.metrics.scores import MetricScore

def score_length(references, hypotheses):
    lengths = [len(caption.split()) for caption in hypotheses.values()]
    return {"length": MetricScore(sum(lengths) / len(lengths), lengths)}
"""
_SCRIPT = """
import json
from imcap import metrics
metrics.register("length", "Length", "length_metric:score_length")
from imcap import config
from imcap.config import checks
from imcap.metrics import scores, tables
from imcap.training.history import COLUMNS

found = scores.score_captions({"x": ["a dog"], "y": ["a cat"]}, {"x": "a dog runs", "y": "cat"})
settings = config.default()
settings.train.best_metric = "length"
checks.validate(settings)
print(json.dumps({
    "metrics": found.as_dict(),
    "image": found.per_image["x"],
    "figures": tables.tabulate([("dev", found.as_dict())])[0].rows[0][-1],
    "label": metrics.label("length"),
    "columns": COLUMNS,
}))
"""


def test_further_metric_is_one_file_and_one_line(tmp_path):
    (tmp_path / "length_metric.py").write_text(_FILE)
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT],
        capture_output=True, text=True, check=False, cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(processes.ROOT)])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["metrics"]["length"] == 2.0
    assert found["image"]["length"] == 3.0
    assert found["figures"][-1] == "2.000"
    assert found["label"] == "Length"
    assert "dev_length" in found["columns"]


def test_registry_needs_no_scoring_library():
    script = "import sys, imcap.metrics; sys.exit('nltk' in sys.modules or 'numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], cwd=processes.ROOT, check=True)
