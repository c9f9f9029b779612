"""The registry of readers, and what holds for every reader."""

from __future__ import annotations

import os

import pytest
from refusals import refusal

from imcap import config as config_lib
from imcap import datasets, filesystem
from imcap.config import checks


def test_an_unknown_name_lists_all_and_names_the_nearest(read):
    line = refusal(read, "flikr8k")
    assert line.startswith("config.dataset.name='flikr8k'")
    assert "did you mean flickr8k?" in line
    assert all(name in line for name in datasets.READERS)


def test_a_config_without_a_name_lists_all(read):
    assert all(name in refusal(read, "") for name in datasets.READERS)


def test_config_choices_are_the_registered_readers():
    config = config_lib.default()
    config.dataset.name = "flikr8k"
    line = refusal(checks.validate, config)
    assert "dataset.name='flikr8k'" in line
    assert all(name in line for name in datasets.READERS)


READER = """
from imcap.datasets import CaptionedImage, Reader

class Labels(Reader):
    def read(self, problems):
        for name in ("b", "a"):
            yield CaptionedImage(name, f"{self.settings.dir}/{name}", (name,), "train")
"""


def test_a_reader_is_one_file_and_one_registered_name(tmp_path, monkeypatch):
    (tmp_path / "labels_reader.py").write_text(READER)
    monkeypatch.syspath_prepend(tmp_path)
    with datasets.READERS.registered("labels", "labels_reader:Labels"):
        reader = datasets.build_reader({"name": "labels", "dir": "/data/"})
    assert reader.first() == datasets.CaptionedImage("b", "/data/b", ("b",), "train")
    assert [image.image_id for image in reader.read(datasets.Problems())] == ["b", "a"]
    assert reader.count() == {"train": 2}


def test_first_of_a_table_reads_one_row(make):
    folder = make({"t.csv": "image,caption\na.jpg,One\na.jpg,Two\n"}, ["a.jpg"])
    reader = datasets.build_reader({"name": "table", "dir": folder})
    assert reader.first().captions == ("One",)


@pytest.mark.parametrize("name", ["table", "folder", "flickr8k"])
@pytest.mark.parametrize("spelling", ["~/set", "{0}/set/", "set", "./set/", "x/../set", "."])
def test_paths_are_the_same_however_the_folder_is_spelt(
    name, spelling, make, tmp_path, monkeypatch
):
    make(
        {"set/t.csv": "image,caption\nImages/a.jpg,Hi\n", "set/captions.txt": "a.jpg,Hi\n",
         "set/Images/a.txt": "Hi\n", "x/empty": ""},
        ["set/Images/a.jpg"],
    )  # fmt: skip
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path / "set" if spelling == "." else tmp_path)
    folder = spelling.format(tmp_path)
    captions = {"table": "t.csv", "folder": "", "flickr8k": "captions.txt"}[name]
    reader = datasets.build_reader({"name": name, "dir": folder, "captions": captions})
    path = reader.first().path
    assert filesystem.relative_to(path, folder) == "Images/a.jpg"
    assert os.path.samefile(path, tmp_path / "set/Images/a.jpg")
