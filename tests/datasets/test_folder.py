"""A folder of photos with text files beside them."""

from __future__ import annotations

import os
import tempfile

import ml_collections
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imcap import datasets
from imcap.errors import UserError


def test_photos_of_subfolders_with_a_caption_per_line(make, read):
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
    assert problems.counts == {"photos without captions": 2, "text files without a photo": 1}


def test_the_ratio_decides_the_split(make, read):
    make({"a.txt": "Hi"}, ["a.jpg"])
    assert read("folder", ratios=(0.0, 0.0, 1.0))[0][0].split == "test"


def test_a_folder_of_photos_alone_says_so(make, read):
    make({}, ["a.jpg", "b.jpg"])
    with pytest.raises(UserError, match="2 photos without captions"):
        read("folder")


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.binary(max_size=60))
def test_random_bytes_are_read_or_counted_or_a_user_error(content):
    with tempfile.TemporaryDirectory() as folder:
        for name, written in (("a.jpg", b"x"), ("a.txt", content)):
            with open(os.path.join(folder, name), "wb") as file:
                file.write(written)
        config = ml_collections.ConfigDict({"name": "folder", "dir": folder})
        try:
            images = list(datasets.read(config, datasets.Problems()))
        except UserError as error:
            assert folder in str(error)
        else:
            assert all(caption.strip() for caption in images[0].captions)
