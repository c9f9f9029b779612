"""A folder of images with text files beside them."""

from __future__ import annotations

import os
import tempfile

import ml_collections
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imcap import datasets
from imcap.errors import UserError


def test_images_of_subfolders_with_a_caption_per_line(make, read):
    make(
        {"a.txt": "One .\r\n\r\n  Two .\n", "sub/b.txt": "Three"},
        ["a.jpg", "sub/b.PNG", ".hidden/c.jpg", "._a.jpg"],
    )
    images, problems = read("folder")
    assert {image.image_id: image.captions for image in images} == {
        "a.jpg": ("One .", "Two ."),
        "sub/b.PNG": ("Three",),
    }
    assert problems.lines() == []


def test_what_has_no_partner_is_counted(make, read):
    make({"a.txt": "Hi", "notes.txt": "Hi", "empty.txt": " \n"}, ["a.jpg", "b.jpg", "empty.jpg"])
    images, problems = read("folder")
    assert [image.image_id for image in images] == ["a.jpg"]
    assert problems.counts == {"images without captions": 2, "text files without an image": 1}


def test_the_ratio_decides_the_split(make, read):
    make({"a.txt": "Hi"}, ["a.jpg"])
    assert read("folder", ratios=(0.0, 0.0, 1.0))[0][0].split == "test"


def test_a_folder_of_images_alone_says_so(make, read):
    make({}, ["a.jpg", "b.jpg"])
    with pytest.raises(UserError, match="2 images without captions"):
        read("folder")


def by_split(images):
    return {image.image_id: image.split for image in images}


def test_subfolders_named_after_splits_are_the_splits(make, read, logged):
    names = ["train/a", "Train/b", "VAL/sub/c", "validation/d", "valid/e", "dev/f", "test/g"]
    make({f"{name}.txt": "Hi" for name in names}, [f"{name}.jpg" for name in names])
    images, problems = read("folder")
    assert by_split(images) == {
        "train/a.jpg": "train",
        "Train/b.jpg": "train",
        "VAL/sub/c.jpg": "dev",
        "validation/d.jpg": "dev",
        "valid/e.jpg": "dev",
        "dev/f.jpg": "dev",
        "test/g.jpg": "test",
    }
    assert problems.lines() == []
    folders = "Train, VAL, dev, test, train, valid, validation"
    assert logged()[0].endswith(f"split by its folders {folders}")


def test_images_outside_of_the_split_folders_are_counted(make, read):
    names = ["train/a", "b", "other/train/c"]
    make({f"{name}.txt": "Hi" for name in names}, [f"{name}.jpg" for name in names])
    images, problems = read("folder")
    assert by_split(images) == {"train/a.jpg": "train"}
    assert problems.counts == {"images outside of the split folders": 2}


def test_other_subfolders_are_split_by_a_ratio_which_is_logged(make, read, logged):
    names = ["trains/a", "beach/test/b"]
    make({f"{name}.txt": "Hi" for name in names}, [f"{name}.jpg" for name in names])
    images, _ = read("folder", ratios=(0.0, 1.0, 0.0), seed=3)
    assert set(by_split(images).values()) == {"dev"}
    assert logged()[0].endswith("split by ratio 0/1/0 (train/dev/test) with seed 3")


@settings(max_examples=40)
@given(st.binary(max_size=60))
def test_random_bytes_are_read_or_counted_or_a_user_error(content):
    with tempfile.TemporaryDirectory() as folder:
        for name, written in (("a.jpg", b"x"), ("a.txt", content)):
            with open(os.path.join(folder, name), "wb") as file:
                file.write(written)
        config = ml_collections.ConfigDict({"name": "folder", "dir": folder})
        try:
            images = list(datasets.build_reader(config).read(datasets.Problems()))
        except UserError as error:
            assert folder in str(error)
        else:
            assert all(caption.strip() for caption in images[0].captions)
