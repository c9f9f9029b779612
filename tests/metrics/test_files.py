"""metrics.json of every evaluated split, read."""

from __future__ import annotations

import json

import pytest
from refusals import refusal

from imcap.metrics import files


def write(workdir, split: str, content: str) -> str:
    path = workdir / "eval" / split / "metrics.json"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    return str(path)


def test_scores_of_every_evaluated_split_are_read(tmp_path):
    scores = {"images": 9, "cider": 0.75}
    write(tmp_path / "[a]", "dev", json.dumps(scores))
    write(tmp_path / "[a]", "test", json.dumps(scores | {"images": 10}))
    found = files.read_scores(str(tmp_path / "[a]"))
    assert found == {"dev": scores, "test": scores | {"images": 10}}
    assert files.read_scores(str(tmp_path / "none")) == {}


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_corrupted_scores_are_named(tmp_path, content):
    path = write(tmp_path, "dev", content)
    assert refusal(files.read_scores, str(tmp_path)).startswith(f"{path} is corrupted")
