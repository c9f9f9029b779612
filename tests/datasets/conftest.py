"""Builds small data sets on disk and reads them as the project does."""

from __future__ import annotations

import os

import ml_collections
import pytest

from imcap import datasets

# Readers never look into a photo, so a JPEG's first bytes are photo enough.
PHOTO = b"\xff\xd8\xff\xe0"


@pytest.fixture
def make(tmp_path):
    """Returns a function that writes {path: text or bytes} and empty photos; gives the folder."""

    def write(files=None, photos=()):
        for name, content in {**(files or {}), **dict.fromkeys(photos, PHOTO)}.items():
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
        return list(datasets.read(config, problems)), problems

    return run
