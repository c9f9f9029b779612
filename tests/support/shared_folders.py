"""Folders that the processes of `pytest -n` share: what is expensive is made once a session."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


def make_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Returns the folder `name` of the session, which must stay as `make` leaves it.

    The first process that asks makes it; others wait for it.

    Args:
      factory: of this process.
      name: of the folder; no other folder of the session has it.
      make: fills the empty folder that it gets.
    """
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # That of the session: each process has a folder within it.
    folder, finished = root / name, root / f"{name}.finished"
    with open(root / f"{name}.lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not finished.exists():
            shutil.rmtree(folder, ignore_errors=True)  # What a failed attempt has left.
            folder.mkdir()
            make(folder)
            finished.touch()
    return folder
