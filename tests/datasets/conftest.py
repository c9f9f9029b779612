"""Builds small data sets on disk and reads them as the project does."""

from __future__ import annotations

import os

import ml_collections
import pytest

from imcap import datasets

# Readers do not open images, so a JPEG's first bytes are enough.
IMAGE = b"\xff\xd8\xff\xe0"


@pytest.fixture
def make(tmp_path):
    """Returns a function that writes {path: text or bytes} and images; it returns the folder."""

    def write(files=None, images=()):
        for name, content in {**(files or {}), **dict.fromkeys(images, IMAGE)}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return os.fspath(tmp_path)

    return write


@pytest.fixture
def read(tmp_path):
    """Returns a function that reads the folder with the named reader: (images, problems)."""

    def run(name, **fields):
        config = ml_collections.ConfigDict({"name": name, "dir": os.fspath(tmp_path), **fields})
        problems = datasets.Problems()
        return list(datasets.build_reader(config).read(problems)), problems

    return run
