"""Inspecting a records folder verifies it and describes it."""

from __future__ import annotations

import re
import shutil

import pytest
from refusals import refusal

from imcap import inspect_records


@pytest.fixture
def folder(tmp_path, landscape_data):
    return shutil.copytree(landscape_data / "records", tmp_path / "records")


def test_splits_and_encoder_are_described(folder):
    lines = inspect_records.inspect_records(str(folder))
    assert any(line.startswith("split dev: 9 images in 2 shards") for line in lines)
    assert any(line.startswith("encoder: ") for line in lines)
    assert lines[-2:] == ["every record and digest verified", str(folder / "inspect.html")]


def test_html_shows_images_with_captions_and_tokens(folder):
    inspect_records.inspect_records(str(folder), samples=4)
    page = (folder / "inspect.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg;base64,") == 4
    assert "sky over the" in page
    assert re.search(r"<small>a \w+ sky over the", page)  # The tokens, decoded.


def test_other_vocabulary_is_refused(folder):
    path = folder / "vocab.txt"
    path.write_text(path.read_text() + "zebra\n")
    assert refusal(inspect_records.inspect_records, str(folder)).startswith(
        f"{path} is not the vocabulary"
    )


def test_changed_shard_is_named(folder):
    shards = sorted(folder.glob("train-*.tfrecord"))
    shutil.copy(shards[1], shards[0])
    line = refusal(inspect_records.inspect_records, str(folder))
    assert line.startswith(f"{shards[0]} holds ") and "delete it" in line
