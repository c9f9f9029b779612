"""Registries: names, what they stand for, and the message for a name that there is not."""

from __future__ import annotations

import json

import pytest
from refusals import refusal

from imcap.registry import Registry, advice


@pytest.fixture
def codecs() -> Registry:
    return Registry("config.codec", {"dumps": "json:dumps", "loads": "json:loads"})


def test_load_returns_what_a_name_stands_for(codecs):
    assert codecs.load("dumps") is json.dumps


def test_nothing_is_imported_before_load():
    names = Registry("config.codec", {"absent": "no_such_module:function"})
    assert list(names) == ["absent"] and len(names) == 1
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        names.load("absent")


def test_unknown_name_is_refused_with_the_nearest(codecs):
    assert refusal(codecs.load, "dump") == (
        "config.codec='dump': choose one of dumps, loads; did you mean dumps?"
    )


def test_registered_name_is_a_choice(codecs):
    codecs.register("dump", "json:dump")
    assert codecs.load("dump") is json.dump
    assert codecs.advice() == "choose one of dumps, loads, dump"


def test_name_is_registered_once(codecs):
    with pytest.raises(ValueError, match="is json:dumps already"):
        codecs.register("dumps", "json:dump")


def test_name_registered_for_a_block_is_removed_after_it(codecs):
    with pytest.raises(KeyboardInterrupt), codecs.registered("dump", "json:dump"):
        assert codecs.load("dump") is json.dump
        raise KeyboardInterrupt
    assert list(codecs) == ["dumps", "loads"]
    with pytest.raises(ValueError, match="is json:dumps already"), codecs.registered("dumps", ""):
        pass
    assert codecs.load("dumps") is json.dumps


def test_advice_names_the_nearest_of_any_choices():
    assert advice("GZP", ("", "GZIP")) == "choose one of '', GZIP; did you mean GZIP?"
