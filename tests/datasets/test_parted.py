"""Rows of one image, anywhere in a source, become one image."""

from __future__ import annotations

from imcap import datasets
from imcap.datasets.parted import Entry, merge


def test_rows_of_an_image_are_merged_in_the_order_of_first_rows():
    entries = [
        ("row 1", Entry("b", "b.jpg", "train", ["One"])),
        ("row 2", Entry("a", "a.jpg", "dev", ["Two"])),
        ("row 3", Entry("b", "b.jpg", "train", ["Three", "Four"])),
    ]
    problems = datasets.Problems()
    assert list(merge(entries, problems)) == [
        datasets.CaptionedImage("b", "b.jpg", ("One", "Three", "Four"), "train"),
        datasets.CaptionedImage("a", "a.jpg", ("Two",), "dev"),
    ]
    assert problems.lines() == []


def test_rows_that_cannot_be_merged_are_counted():
    entries = [
        ("row 1", Entry("a", "a.jpg", "train", ["One"])),
        ("row 2", Entry("a", "a.jpg", "dev", ["Two"])),
        ("row 3", Entry("a", "other.jpg", "train", ["Three"])),
        ("row 4", Entry("gone", "", "train", ["Four"])),
        ("row 5", Entry("gone", "", "train", ["Five"])),
        ("row 6", Entry("quiet", "quiet.jpg", "train", [])),
    ]
    problems = datasets.Problems()
    assert [image.captions for image in merge(entries, problems)] == [("One",)]
    assert problems.lines() == [
        "2 rows that give an id another image or split (first: row 2)",
        "1 missing images (first: row 4)",
        "1 images without captions (first: quiet)",
    ]
