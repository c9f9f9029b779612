"""Files of Flickr captions: the official layout, Kaggle's, and which of them is read."""

from __future__ import annotations

import pytest

from imcap.errors import UserError

TOKEN = "b.jpg#0\tA dog runs .\nb.jpg#1\tThe dog is running .\na.jpg#0\tA girl .\nc.jpg#0\tTwo .\n"
IMAGES = ["Images/a.jpg", "Images/b.jpg", "Images/c.jpg"]
CSV = 'image,caption\na.jpg,A girl , in pink .\nb.jpg,"A dog, ""Rex"", runs"\n'


def test_kaggles_layout_keeps_commas_and_quotes(make, read):
    make({"captions.txt": CSV}, ["Images/a.jpg", "Images/b.jpg"])
    images, problems = read("flickr8k")
    assert [image.captions for image in images] == [
        ("A girl , in pink .",),
        ('A dog, "Rex", runs',),
    ]
    assert problems.lines() == []


def test_a_captions_file_delimited_by_semicolons(make, read):
    make({"captions.txt": "image;caption\na.jpg;A girl, in pink; smiling\n"}, ["Images/a.jpg"])
    (image,), problems = read("flickr8k")
    assert image.captions == ("A girl, in pink; smiling",)
    assert problems.lines() == []


def test_a_missing_image_counts_once_however_many_captions_it_has(make, read):
    make({"Flickr8k.token.txt": TOKEN}, IMAGES[:1])
    images, problems = read("flickr8k")
    assert [image.image_id for image in images] == ["a.jpg"]
    assert problems.counts == {"missing images": 2}


def test_the_official_captions_win_over_kaggles(make, read):
    make({"Flickr8k.token.txt": "a.jpg#0\tofficial", "captions.txt": CSV}, ["Images/a.jpg"])
    (image,), _ = read("flickr8k")
    assert image.captions == ("official",)


def test_a_folder_without_captions_says_what_was_looked_for(make, read, tmp_path):
    make({}, IMAGES)
    with pytest.raises(UserError, match=r"Flickr8k\.token\.txt.*captions\.txt") as error:
        read("flickr8k")
    assert str(tmp_path) in str(error.value)
