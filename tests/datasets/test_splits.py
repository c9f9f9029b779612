"""Ratios, lists and held-out images."""

from __future__ import annotations

import collections

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imcap.datasets import splits
from imcap.errors import UserError


def test_a_ratio_gives_about_its_share():
    split = splits.RatioSplit((0.7, 0.2, 0.1), seed=1)
    counts = collections.Counter(split.split_of(f"{number}.jpg") for number in range(10_000))
    assert counts["train"] == pytest.approx(7000, abs=150)
    assert counts["dev"] == pytest.approx(2000, abs=150)
    assert counts["test"] == pytest.approx(1000, abs=150)


@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(0, 3))
def test_a_split_with_no_share_gets_nothing(name, empty):
    ratios = [0.0 if index == empty else 0.5 for index in range(3)]
    if empty == 3:
        ratios = [1.0, 0.0, 0.0]
    split = splits.RatioSplit(ratios, seed=0).split_of(name)
    assert ratios[splits.SPLITS.index(split)] > 0


@pytest.mark.parametrize(
    "ratios", [(0.8, 0.1), (0.8, 0.1, 0.2), (1.2, -0.1, -0.1), ("a", 0.5, 0.5), 0.8, {"trian": 1.0}]
)
def test_ratios_that_do_not_add_up_are_an_error(ratios):
    with pytest.raises(UserError, match=r"config\.dataset\.ratios"):
        splits.ratios(ratios)


@pytest.mark.parametrize("ratios", [(0.5, 0.3, 0.2), {"train": 0.5, "dev": 0.3, "test": 0.2}])
def test_ratios_are_a_tuple_or_named(ratios):
    assert splits.ratios(ratios) == (0.5, 0.3, 0.2)


@pytest.mark.parametrize(
    ("name", "split"),
    [("val", "dev"), (" Validation ", "dev"), ("train", "train"), ("minival", "minival")],
)
def test_split_names_are_unified(name, split):
    assert splits.canonical(name) == split


@pytest.mark.parametrize("name", ["", "../x", "a b", "train-00000-of-00001", "é", "x" * 40])
def test_names_that_no_file_can_have_are_refused(name):
    assert splits.canonical(name) == ""
