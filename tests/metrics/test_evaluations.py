"""Folders of evaluations: found, read, and refused where they cannot be compared."""

from __future__ import annotations

import json

import pytest
from corpora import make_corpus
from evaluation_folders import write_evaluation
from refusals import refusal

from imcap.metrics import evaluations

REFERENCES, CAPTIONS = make_corpus(6)


def write(folder, references=None, captions=None, **settings):
    return write_evaluation(folder, references or REFERENCES, captions or CAPTIONS, **settings)


def read_two(tmp_path, references, captions):
    a = evaluations.read(str(write(tmp_path / "a")))
    b = evaluations.read(str(write(tmp_path / "b", references, captions)))
    return a, b


def test_captions_references_and_settings_are_read(tmp_path):
    found = evaluations.read(str(write(tmp_path / "a", beam_size=3)))
    assert (found.captions, found.references) == (CAPTIONS, REFERENCES)
    assert found.settings == {"split": "dev", "beam_size": 3}


def test_an_image_without_references_is_left_out(tmp_path):
    folder = write(tmp_path / "a")
    path = folder / "references.json"
    path.write_text(json.dumps(REFERENCES | {"0.jpg": []}))
    assert "0.jpg" not in evaluations.read(str(folder)).captions


def test_the_folder_of_a_run_and_of_its_evaluation_are_found(tmp_path):
    folder = str(write(tmp_path / "run" / "eval" / "dev-mbr"))
    assert evaluations.find(str(tmp_path / "run"), "dev-mbr") == folder
    assert evaluations.find(folder, "dev") == folder


def test_a_split_that_was_not_evaluated_is_refused_with_those_that_were(tmp_path):
    write(tmp_path / "run" / "eval" / "test")
    line = refusal(evaluations.find, str(tmp_path / "run"), "dev")
    assert f"{tmp_path}/run/eval/dev holds metrics.json; there are test: give --split" in line
    assert refusal(evaluations.find, str(tmp_path), "dev").endswith("run `imcap eval` first")


@pytest.mark.parametrize("name", ["metrics", "predictions", "references"])
@pytest.mark.parametrize("content", [None, "{", "3", '[{"image": 1}]'])
def test_missing_and_corrupted_files_are_named(tmp_path, name, content):
    folder = write(tmp_path / "a")
    path = folder / f"{name}.json"
    path.unlink() if content is None else path.write_text(content)
    line = refusal(evaluations.read, str(folder))
    assert line.startswith(str(path)) and "corrupted: run `imcap eval` again" in line


def test_references_without_a_caption_are_refused(tmp_path):
    folder = write(tmp_path / "a")
    (folder / "predictions.json").write_text("[]")
    assert "image '0.jpg' has references but no caption" in refusal(evaluations.read, str(folder))


def test_images_in_another_order_are_aligned(tmp_path):
    backwards = dict(reversed(REFERENCES.items()))
    a, b = read_two(tmp_path, backwards, {key: CAPTIONS[key] for key in backwards})
    assert list(b.captions) != list(a.captions)
    aligned = evaluations.align(a, b)
    assert list(aligned.captions) == list(aligned.references) == list(a.references)
    assert (aligned.captions, aligned.references) == (CAPTIONS, REFERENCES)


def test_other_images_are_refused(tmp_path):
    fewer = {image_id: REFERENCES[image_id] for image_id in list(REFERENCES)[2:]}
    a, b = read_two(tmp_path, fewer, {image_id: CAPTIONS[image_id] for image_id in fewer})
    line = refusal(evaluations.align, a, b)
    assert f"{tmp_path}/a has 6 images and {tmp_path}/b 4: 2 of the former" in line
    assert "such as '0.jpg'" in line
    assert refusal(evaluations.align, b, a) == line


def test_other_references_are_refused(tmp_path):
    changed = REFERENCES | {"3.jpg": ["a red dog"]}
    line = refusal(evaluations.align, *read_two(tmp_path, changed, CAPTIONS))
    assert line.startswith("the references of image '3.jpg' differ: ")
    assert f"['a red dog'] in {tmp_path}/b" in line
