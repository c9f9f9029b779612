"""Exported models on disk: which folder is meant, and what is refused."""

from __future__ import annotations

import os
import shutil

import pytest
import tensorflow as tf
from grey_model import Grey
from refusals import refusal

from imcap.errors import UserError
from imcap.serving import saved_model
from imcap.serving.captioner import Captioner


@pytest.mark.parametrize("suffix", ["", "/"])
def test_find_model_accepts_a_version_an_export_folder_or_a_run(version_dir, suffix):
    export_dir = os.path.dirname(version_dir)
    for folder in (version_dir, export_dir, os.path.dirname(export_dir)):
        found = saved_model.find_model(folder + suffix)
        assert os.path.samefile(found, version_dir)
        assert saved_model.version(found) == 7


def test_the_newest_finished_version_is_found(tmp_path):
    for version in ("9", "10", "11", "best"):
        (tmp_path / version).mkdir()
    for version in ("9", "10", "best"):
        (tmp_path / version / "saved_model.pb").touch()
    assert saved_model.find_model(str(tmp_path)) == str(tmp_path / "10")


def test_the_version_is_the_folders_number_or_1(version_dir):
    assert saved_model.version(version_dir) == 7
    assert saved_model.version("runs/best") == 1


@pytest.mark.parametrize("exists", [True, False])
def test_a_missing_model_is_refused_with_the_command_that_makes_one(tmp_path, exists):
    folder = tmp_path if exists else tmp_path / "nowhere"
    message = refusal(Captioner, str(folder))
    assert message.startswith(f"{folder}: ")
    assert "imcap export" in message


def test_another_saved_model_is_refused_with_the_missing_signature(tmp_path):
    model = Grey()
    tf.saved_model.save(model, str(tmp_path), signatures={"serving_default": model.serve})
    expected = "signature 'score' should be caption, image_bytes -> score"
    assert expected in refusal(Captioner, str(tmp_path))


def test_a_corrupted_model_is_refused_by_name(version_dir, tmp_path):
    corrupted = shutil.copytree(version_dir, tmp_path / "1")
    shutil.rmtree(corrupted / "variables")
    assert refusal(Captioner, str(corrupted)).startswith(f"{corrupted}: cannot be loaded: ")
    (corrupted / "saved_model.pb").write_bytes(b"\xff\xfe not a model")
    expected = f"{corrupted}/saved_model.pb: cannot be read: "
    assert refusal(Captioner, str(corrupted)).startswith(expected)


def test_a_model_s_name_is_its_folder_s():
    values = ["runs/demo", "runs/a/export", "runs/b/export/3/", "mine=runs/c=d"]
    assert saved_model.models_by_name(values) == {
        "demo": "runs/demo",
        "a": "runs/a/export",
        "b": "runs/b/export/3/",
        "mine": "runs/c=d",
    }


def test_a_run_may_be_named_with_a_number(version_dir, tmp_path):
    shutil.copytree(os.path.dirname(version_dir), tmp_path / "12" / "export")
    run = str(tmp_path / "12")
    assert saved_model.models_by_name([run, f"{tmp_path.parent}/a/3"]) == {
        "12": run, "a": f"{tmp_path.parent}/a/3"
    }  # fmt: skip


@pytest.mark.parametrize("values", [["=a"], ["a="], [""], ["x/demo", "y/demo"], ["a=x", "a=y"]])
def test_a_model_without_a_name_of_its_own_is_refused(values):
    with pytest.raises(UserError, match=f"^--model={values[-1]}: .*NAME=DIR"):
        saved_model.models_by_name(values)
