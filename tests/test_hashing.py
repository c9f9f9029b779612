"""Hashes that must never change."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imcap import hashing


@pytest.mark.parametrize(
    ("image_id", "shards"),
    [
        ("1000268201_693b08cb0e.jpg", {1: 0, 4: 0, 16: 8, 1000: 832}),
        ("train-00000.jpg", {1: 0, 4: 2, 16: 6, 1000: 550}),
        ("ü", {1: 0, 4: 3, 16: 7, 1000: 335}),
        ("", {1: 0, 4: 0, 16: 4, 1000: 876}),
    ],
)
def test_an_images_shard_never_changes(image_id, shards):
    assert {n: hashing.stable_number(image_id, n) for n in shards} == shards


def test_images_spread_over_the_shards():
    counts = np.bincount([hashing.stable_number(f"{i}.jpg", 8) for i in range(4000)], minlength=8)
    assert counts.min() > 400
    assert counts.max() < 600


def test_a_digest_depends_on_values_and_not_on_the_order_of_keys():
    value = {"a": 1, "b": {"c": ["ü", 2.5, None], "d": True}}
    reordered = {"b": {"d": True, "c": ["ü", 2.5, None]}, "a": 1}
    assert hashing.digest_of(value) == hashing.digest_of(reordered)
    assert hashing.digest_of(value) == "a2fe75094b333554bafbb1c7a285e263"
    for other in ({**value, "a": 2}, {**value, "b": {"c": [2.5, "ü", None], "d": True}}, [value]):
        assert hashing.digest_of(other) != hashing.digest_of(value)


def test_the_hash_is_the_same_on_every_machine_and_in_every_release():
    assert hashing.stable_fraction(0, "1000268201_693b08cb0e.jpg") == pytest.approx(
        0.4456467423967291, abs=1e-12
    )


@given(st.integers(), st.text(st.characters(exclude_categories=["Cs"])))
def test_the_fraction_lies_between_0_and_1(seed, name):
    assert 0 <= hashing.stable_fraction(seed, name) < 1
