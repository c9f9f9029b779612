"""What every reader of a data set is built on."""

from __future__ import annotations

from imcap import datasets


def test_problems_are_one_line_per_kind_with_the_place_of_the_first():
    problems = datasets.Problems()
    problems.add("missing images", "a.jpg")
    problems.add("missing images", "b.jpg", 4)
    problems.add("empty captions", "c.jpg")
    assert problems.lines() == [
        "5 missing images (first: a.jpg)",
        "1 empty captions (first: c.jpg)",
    ]


def test_settings_that_are_none_have_their_defaults():
    settings = datasets.Settings.from_config({"dir": "./x/", "captions": None, "size": 5})
    assert settings == datasets.Settings(dir="x", size=5)
