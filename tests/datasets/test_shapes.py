"""The shapes data set: what is drawn, what its captions say, and what its test split holds."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from PIL import Image

from imcap import filesystem
from imcap.datasets import Problems, build_reader, scenes
from imcap.errors import UserError

PAIR = re.compile(rf"({'|'.join(scenes.COLOURS)}) ({'|'.join(scenes.SHAPES)})")


def pairs(images):
    return {pair for image in images for text in image.captions for pair in PAIR.findall(text)}


def in_split(images, *splits):
    return [image for image in images if image.split in splits]


def all_bytes(folder):
    return {
        os.path.relpath(path, folder): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_every_image_is_there_with_five_different_captions(read, tmp_path):
    images, problems = read("shapes", size=40, seed=1)
    assert [len(in_split(images, split)) for split in ("train", "dev", "test")] == [32, 4, 4]
    for image in images:
        assert len(set(image.captions)) == 5
        assert os.path.dirname(image.path) == str(tmp_path / "images")
        with Image.open(image.path) as opened:
            assert (opened.size, opened.format, opened.mode) == ((96, 96), "JPEG", "RGB")
    assert len({image.image_id for image in images}) == 40
    assert problems.lines() == []


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_test_split_has_new_pairs_of_known_colours_and_shapes(seed, read):
    images, _ = read("shapes", size=120, seed=seed, ratios=(0.5, 0.2, 0.3))
    train, held = pairs(in_split(images, "train")), pairs(in_split(images, "test"))
    assert not held & (train | pairs(in_split(images, "dev")))
    assert len(held) == 6
    assert {colour for colour, _ in train} == set(scenes.COLOURS)
    assert {shape for _, shape in train} == set(scenes.SHAPES)


def test_six_train_images_have_every_colour_and_shape(read):
    images, _ = read("shapes", size=6, ratios=(1.0, 0.0, 0.0))
    assert {colour for colour, _ in pairs(images)} == set(scenes.COLOURS)
    assert {shape for _, shape in pairs(images)} == set(scenes.SHAPES)


def test_the_words_are_few(read):
    images, _ = read("shapes", size=300)
    words = {word for image in images for text in image.captions for word in text.split()}
    assert 30 <= len({word.strip(",") for word in words}) <= 40


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(read, tmp_path):
    folders = [tmp_path / name for name in ("one", "two", "three")]
    for folder, seed in zip(folders, (7, 7, 8), strict=True):
        read("shapes", dir=str(folder), size=10, seed=seed)
    one, two, three = map(all_bytes, folders)
    assert one == two
    assert one.keys() == three.keys()
    assert one["images/train-00000.jpg"] != three["images/train-00000.jpg"]


def test_a_finished_data_set_is_not_drawn_again(read, tmp_path):
    first, _ = read("shapes", size=10)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert read("shapes", size=10)[0] == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def reader(folder, size):
    return build_reader({"name": "shapes", "dir": str(folder), "size": size})


def test_first_and_count_draw_nothing(tmp_path):
    folder = tmp_path / "shapes"
    first, counts = reader(folder, 40).first(), reader(folder, 40).count()
    assert not folder.exists()
    images = list(reader(folder, 40).read(Problems()))
    assert first == images[0]
    assert counts == {split: len(in_split(images, split)) for split in ("train", "dev", "test")}


def test_an_interrupted_drawing_is_resumed(read, tmp_path):
    read("shapes", size=10)
    whole = all_bytes(tmp_path)
    description = json.loads((tmp_path / "shapes.json").read_text())
    (tmp_path / "shapes.json").write_text(json.dumps({**description, "complete": False}))
    (tmp_path / "captions.jsonl").unlink()
    (tmp_path / "images/train-00003.jpg").unlink()
    kept = (tmp_path / "images/train-00002.jpg").stat().st_mtime_ns
    read("shapes", size=10)
    assert all_bytes(tmp_path) == whole
    assert (tmp_path / "images/train-00002.jpg").stat().st_mtime_ns == kept


def test_lost_images_are_drawn_again(read, tmp_path):
    images, _ = read("shapes", size=10)
    os.remove(images[4].path)
    read("shapes", size=10)
    assert os.path.exists(images[4].path)


def test_other_parameters_replace_the_data_set_and_nothing_else(read, tmp_path):
    read("shapes", size=10)
    (tmp_path / "images/mine.jpg").write_bytes(b"x")
    with filesystem.replacing(str(tmp_path / "images/train-00001.jpg")) as unfinished:
        Path(unfinished).touch()
    Path(unfinished).touch()  # As a drawing leaves it that is killed.
    images, _ = read("shapes", size=5, seed=3)
    names = {image.image_id for image in images}
    assert set(os.listdir(tmp_path / "images")) == {*names, "mine.jpg"}
    fresh, _ = read("shapes", size=5, seed=3, dir=str(tmp_path / "fresh"))
    drawn = [Path(image.path).read_bytes() for image in images]
    assert drawn == [Path(image.path).read_bytes() for image in fresh]


def test_a_folder_with_other_images_is_refused_and_left_alone(make, read, tmp_path):
    make({}, ["images/train-00000.jpg"])
    before = all_bytes(tmp_path)
    for use in (lambda reader: list(reader.read(Problems())), lambda reader: reader.first()):
        with pytest.raises(UserError, match="name another folder"):
            use(reader(tmp_path, 5))
    assert all_bytes(tmp_path) == before


@pytest.mark.parametrize("size", [0, -1, True, 2.5])
def test_a_size_that_is_no_number_of_images_is_an_error(size, read):
    with pytest.raises(UserError, match=r"config\.dataset\.size"):
        read("shapes", size=size)


def test_the_table_reader_takes_its_captions(read):
    images, _ = read("shapes", size=10)
    rows, problems = read("table", columns={"split": "split"})
    assert [(r.path, r.captions, r.split) for r in rows] == [
        (i.path, i.captions, i.split) for i in images
    ]
    assert problems.lines() == []
