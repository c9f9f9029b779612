"""Atomic writing: the only place that writes a file under a temporary name."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from imcap.errors import UserError, one_line
from imcap.filesystem.paths import is_remote

TEMPORARY = "tmp-"  # How the name of an unfinished file begins.
_BLOCK = 1 << 24  # Bytes copied at a time.


@contextlib.contextmanager
def replacing(path: str, *, durable: bool = True) -> Iterator[str]:
    """Yields a local temporary path; what is written there becomes `path` when the block ends.

    Readers of `path` see the old file or the whole new one, and a block that raises changes
    nothing. A folder is replaced the same way where `path` does not exist yet.

    Args:
      path: local or remote.
      durable: wait until file and folder are on the disk, so that they outlive a power cut.

    Raises:
      UserError: the file cannot be moved to `path`. What the block raises is raised as it is;
        `writing_to` around it makes UserErrors of that, too.
    """
    folder, slash, name = path.rpartition("/")  # os.path.split would cut the slashes of s3://x.
    unfinished = f"{folder}{slash}{TEMPORARY}{uuid.uuid4().hex}-{name}"
    local = unfinished
    if is_remote(path):
        local = os.path.join(tempfile.gettempdir(), os.path.basename(unfinished))
    try:
        yield local
        with writing_to(path):
            if is_remote(path):
                _upload(local, unfinished, path)
            else:
                _move(local, path, durable)
    finally:
        _remove(local)


def write_text(path: str, content: str, *, durable: bool = True) -> None:
    """Writes a small file whole or not at all; raises UserError if it cannot be written."""
    if is_remote(path):
        content = content or "\n"  # Beam cannot write an empty file to s3://.
    # Surrogates stand for bytes of a file's name that are not UTF-8.
    raw = content.encode("utf-8", "surrogateescape")
    with (
        writing_to(path),
        replacing(path, durable=durable) as temporary,
        open(temporary, "wb") as file,
    ):
        file.write(raw)


def write_json(path: str, value: Any, *, durable: bool = True, **options: Any) -> None:
    """Writes a value as JSON and a line's end; `options` are those of json.dumps."""
    write_text(path, json.dumps(value, **options) + "\n", durable=durable)


def write_arrays(path: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays by name (npz); the same arrays are the same bytes. None may hold objects.

    Raises:
      UserError: the file cannot be written.
    """
    with (
        writing_to(path),
        replacing(path) as temporary,
        open(temporary, "wb") as file,
    ):
        np.savez(file, allow_pickle=False, **arrays)


@contextlib.contextmanager
def writing_to(path: str) -> Iterator[None]:
    """Raises a UserError that names `path` where the block cannot write, as on a full disk."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        # Each cloud's library has exceptions of its own; elsewhere, anything else is a bug.
        if not is_remote(path) and not isinstance(error, OSError) and not _is_tensorflows(error):
            raise
        # TensorFlow puts the temporary file's name first.
        reason = one_line(error).rpartition("; ")[2]
        raise UserError(f"{path} cannot be written: {reason}") from error


def _is_tensorflows(error: Exception) -> bool:
    return type(error).__module__.startswith("tensorflow.")


def _move(source: str, target: str, durable: bool) -> None:
    if durable:
        _sync(source)
    os.replace(source, target)
    if durable:
        _sync_one(os.path.dirname(target) or ".")


def _sync(path: str) -> None:
    """Waits until a file, or a folder with all that is in it, is on the disk."""
    for folder, _, names in os.walk(path):
        for name in names:
            _sync_one(os.path.join(folder, name))
        _sync_one(folder)
    if not os.path.isdir(path):
        _sync_one(path)


def _sync_one(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _upload(local: str, unfinished: str, path: str) -> None:
    from apache_beam.io.filesystems import FileSystems

    with open(local, "rb") as source, FileSystems.create(unfinished) as target:
        shutil.copyfileobj(source, target, _BLOCK)
    if FileSystems.exists(path):
        FileSystems.delete([path])
    FileSystems.rename([unfinished], [path])


def _remove(path: str) -> None:
    if os.path.isdir(path):
        shutil.rmtree(path, ignore_errors=True)
    elif os.path.exists(path):
        os.remove(path)
