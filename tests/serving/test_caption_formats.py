"""Captions of many images as JSON lines, as CSV, and beside the images."""

from __future__ import annotations

import csv
import io
import json
import os

import pytest
from refusals import refusal

from imcap.serving import caption_formats
from imcap.serving.caption_files import Result
from imcap.serving.captioner import Caption

CAPTIONS = Caption("a dog", -0.5, -1.0), Caption("a black dog", -0.25, -2.0)
RESULT = Result("a,b/1.jpg", "a dog", -0.5, CAPTIONS)


@pytest.mark.parametrize("name", ["a.jsonl", "a.b/c.JSONL"])
def test_the_name_says_the_format(name):
    assert caption_formats.format_of(name) == ".jsonl"


@pytest.mark.parametrize("name", ["a.json", "csv", "a.csv/", "folder"])
def test_a_name_without_a_known_ending_is_refused(name):
    message = refusal(caption_formats.format_of, name)
    assert message == f"--out={name}: the name must end in .jsonl or .csv"


def test_json_lines_are_those_of_the_terminal():
    assert caption_formats.header(".jsonl", 2) == ""
    line = caption_formats.line(".jsonl", RESULT)
    assert line.endswith("}\n") and line.count("\n") == 1
    assert json.loads(line)["alternatives"][1]["caption"] == "a black dog"


@pytest.mark.parametrize("top", [1, 2])
def test_csv_has_columns_for_each_caption(top):
    result = Result("a,b/1.jpg", "a dog", -0.5, CAPTIONS[:top])
    text = caption_formats.header(".csv", top) + caption_formats.line(".csv", result)
    (row,) = csv.DictReader(io.StringIO(text))
    expected = {"path": "a,b/1.jpg", "caption": "a dog", "score": "-0.5"}
    more = {"caption_2": "a black dog", "score_2": "-0.25"} if top == 2 else {}
    assert row == expected | more


def test_a_sidecar_has_a_caption_a_line(tmp_path):
    image = str(tmp_path / "a.b.jpg")
    assert caption_formats.write_sidecar(image, RESULT, overwrite=False) == ""
    assert (tmp_path / "a.b.txt").read_text() == "a dog\na black dog\n"
    assert os.listdir(tmp_path) == ["a.b.txt"]


def test_a_sidecar_with_other_words_is_replaced_only_if_asked(tmp_path):
    image, sidecar = str(tmp_path / "a.jpg"), tmp_path / "a.txt"
    sidecar.write_text("written by hand\n")
    reason = caption_formats.write_sidecar(image, RESULT, overwrite=False)
    assert reason == "its .txt file says something else already: --overwrite replaces it"
    assert sidecar.read_text() == "written by hand\n"
    assert caption_formats.write_sidecar(image, RESULT, overwrite=True) == ""
    assert caption_formats.write_sidecar(image, RESULT, overwrite=False) == ""
    assert sidecar.read_text() == "a dog\na black dog\n"


def test_a_sidecar_that_cannot_be_written_has_a_reason(tmp_path):
    image = str(tmp_path / "gone" / "a.jpg")
    assert "cannot be written" in caption_formats.write_sidecar(image, RESULT, overwrite=False)
