"""Folders that the processes of `pytest -n` share: what is expensive is made once a session."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def made_once(
    factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]
) -> Iterator[Path]:
    """Gives the folder `name` of the session, which must stay as `make` leaves it.

    The first process that asks makes it; others wait for it.

    Args:
      factory: of this process.
      name: of the folder; no other folder of the session has it.
      make: fills the empty folder that it gets.

    Raises:
      AssertionError: at the end, if a test has changed the folder's files.
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
            finished.write_text(json.dumps(_files(folder)), encoding="utf-8")
    yield folder
    made, found = json.loads(finished.read_text(encoding="utf-8")), _files(folder)
    changed = sorted(path for path in made | found if made.get(path) != found.get(path))
    assert not changed, f"tests have changed {folder}, which they share: {changed}"


def _files(folder: Path) -> dict[str, list[int]]:
    """Returns bytes and time of change of each file by its path."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {
        str(path.relative_to(folder)): [path.stat().st_size, path.stat().st_mtime_ns]
        for path in files
    }
