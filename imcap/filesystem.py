"""A data set's files: local, or remote (gs://, s3://, hdfs://) by way of Beam's filesystems."""

from __future__ import annotations

import contextlib
import glob
import os
from collections.abc import Iterator
from typing import IO

from imcap.errors import UserError


def is_remote(path: str) -> bool:
    """Tells whether a path has a scheme, such as gs://."""
    return "://" in path


def join(folder: str, name: str) -> str:
    """Returns `folder/name` without `.` in it."""
    path = os.path.join(folder, name)
    return path.removesuffix("/.") if is_remote(path) else os.path.normpath(path)


def is_file(path: str) -> bool:
    """Tells whether a file is there."""
    if not is_remote(path):
        return os.path.isfile(path)
    with _remote(path) as filesystems:
        return filesystems.exists(path)


def is_folder(path: str) -> bool:
    """Tells whether a folder is there; in a bucket, whether any file's name begins like this."""
    return bool(_match(f"{path.rstrip('/')}/**", 1)) if is_remote(path) else os.path.isdir(path)


def size(path: str) -> int:
    """Returns a file's size in bytes; raises OSError or, for a remote one, UserError."""
    if not is_remote(path):
        return os.path.getsize(path)
    with _remote(path) as filesystems:
        return filesystems.match([path])[0].metadata_list[0].size_in_bytes


def names(folder: str) -> frozenset[str]:
    """Returns the names of the files in a folder; none where it cannot be listed."""
    if is_remote(folder):
        return frozenset(path.rpartition("/")[2] for path in _match(f"{folder.rstrip('/')}/*"))
    # A name from a damaged table may hold what no path can, hence ValueError.
    try:
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries if entry.is_file())
    except (OSError, ValueError):
        return frozenset()


def walk(root: str) -> Iterator[tuple[str, list[str]]]:
    """Yields each folder below `root` with its files' names, both sorted, without hidden ones."""
    for parent, files in _walk_remote(root) if is_remote(root) else _walk_local(root):
        yield parent, sorted(name for name in files if not name.startswith("."))


def _walk_local(root: str) -> Iterator[tuple[str, list[str]]]:
    for parent, below, files in os.walk(root):
        below[:] = sorted(name for name in below if not name.startswith("."))
        yield parent, files


def _walk_remote(root: str) -> Iterator[tuple[str, list[str]]]:
    root, found = root.rstrip("/"), {}
    for path in _match(f"{root}/**"):
        parent, _, name = path.rpartition("/")
        if "/." not in parent[len(root) :]:
            found.setdefault(parent, []).append(name)
    yield from sorted(found.items())


def match(pattern: str) -> list[str]:
    """Returns the sorted paths of the files that fit a glob pattern."""
    if is_remote(pattern):
        return sorted(_match(pattern))
    return sorted(path for path in glob.glob(pattern) if os.path.isfile(path))


def open_bytes(path: str) -> IO[bytes]:
    """Opens a file for reading, as it is.

    Raises:
      OSError, or for a remote one UserError: it cannot be opened.
    """
    if not is_remote(path):
        return open(path, "rb")
    with _remote(path) as filesystems:
        return filesystems.open(path, compression_type="uncompressed")


def read_bytes(path: str) -> bytes:
    """Reads a whole file; raises as `open_bytes` does."""
    with _remote(path) if is_remote(path) else contextlib.nullcontext(), open_bytes(path) as file:
        return file.read()


def _match(pattern: str, limit: int | None = None) -> list[str]:
    with _remote(pattern) as filesystems:
        found = filesystems.match([pattern], limits=[limit])
        return [metadata.path for metadata in found[0].metadata_list]


@contextlib.contextmanager
def _remote(path: str) -> Iterator:
    from apache_beam.io.filesystems import FileSystems  # Slow to import, and rarely needed.

    try:
        yield FileSystems
    except UserError:
        raise
    except Exception as error:  # Each cloud's library has exceptions of its own.
        reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise UserError(f"{path}: cannot be read ({reason[0]})") from error
