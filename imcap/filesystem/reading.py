"""Listing and reading files, local or remote."""

from __future__ import annotations

import contextlib
import glob
import io
import json
import os
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any

import numpy as np

from imcap.errors import UserError, first_line, one_line
from imcap.filesystem.paths import is_remote

_BLOCK = 1 << 24  # Bytes copied at a time.


def is_file(path: str) -> bool:
    """Tells whether a file is there."""
    if not is_remote(path):
        return os.path.isfile(path)
    with remote(path) as filesystems:
        return filesystems.exists(path)


def is_folder(path: str) -> bool:
    """Tells whether a folder is there; in a bucket, whether any file's name begins like this."""
    return bool(_match(f"{path.rstrip('/')}/**", 1)) if is_remote(path) else os.path.isdir(path)


def size(path: str) -> int:
    """Returns a file's size in bytes; raises OSError or, for a remote one, UserError."""
    if not is_remote(path):
        return os.path.getsize(path)
    with remote(path) as filesystems:
        return filesystems.match([path])[0].metadata_list[0].size_in_bytes


def file_names(folder: str) -> frozenset[str]:
    """Returns the names of the files in a folder; none where it cannot be listed."""
    if is_remote(folder):
        return frozenset(path.rpartition("/")[2] for path in _match(f"{folder.rstrip('/')}/*"))
    # A name from a corrupted table may hold what no path can, hence ValueError.
    try:
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries if entry.is_file())
    except (OSError, ValueError):
        return frozenset()


def folders(root: str) -> list[str]:
    """Returns the sorted names of the folders directly below `root`, without hidden ones.

    A bucket has no folders: there all names below `root` are listed.

    Raises:
      UserError: `root` cannot be listed.
    """
    if is_remote(root):
        start = len(root.rstrip("/")) + 1
        found = {path[start:].partition("/")[0] for path in _match(f"{root.rstrip('/')}/*/**")}
    else:
        try:
            with os.scandir(root) as entries:
                found = {entry.name for entry in entries if entry.is_dir()}
        except OSError as error:
            raise _unlisted(root, error) from error
    return sorted(name for name in found if not name.startswith("."))


def walk(root: str) -> Iterator[tuple[str, list[str]]]:
    """Yields each folder below `root` with its files' names, both sorted, without hidden ones.

    Raises:
      UserError: a folder may not be listed.
    """
    for parent, files in _walk_remote(root) if is_remote(root) else _walk_local(root):
        yield parent, sorted(name for name in files if not name.startswith("."))


def _walk_local(root: str) -> Iterator[tuple[str, list[str]]]:
    for parent, subfolders, files in os.walk(root, onerror=_refuse_unlisted):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        yield parent, files


def _refuse_unlisted(error: OSError) -> None:
    # A folder that is missing has no files.
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise _unlisted(error.filename, error) from error


def _unlisted(folder: str, error: OSError) -> UserError:
    return UserError(f"{folder}: this folder cannot be listed: {one_line(error)}")


def _walk_remote(root: str) -> Iterator[tuple[str, list[str]]]:
    root = root.rstrip("/")
    found: dict[str, list[str]] = {}
    for path in _match(f"{root}/**"):
        parent, _, name = path.rpartition("/")
        if "/." not in parent[len(root) :]:
            found.setdefault(parent, []).append(name)
    yield from sorted(found.items())


def match(pattern: str, folder: str = "") -> list[str]:
    """Returns the sorted paths of the files below `folder` that fit a glob pattern."""
    if is_remote(pattern) or is_remote(folder):
        return sorted(_match(os.path.join(folder, pattern)))
    found = glob.glob(os.path.join(glob.escape(folder), pattern))
    return sorted(path for path in found if os.path.isfile(path))


def open_bytes(path: str) -> IO[bytes]:
    """Opens a file for reading, as it is.

    Raises:
      OSError, or for a remote one UserError: it cannot be opened.
    """
    if not is_remote(path):
        return open(path, "rb")
    with remote(path) as filesystems:
        return filesystems.open(path, compression_type="uncompressed")


def read_bytes(path: str) -> bytes:
    """Reads a whole file; raises as `open_bytes` does."""
    with reading_from(path), open_bytes(path) as file:
        return file.read()


def read_json(path: str) -> Any | None:
    """Returns a JSON file's value; None where the file is missing or is not JSON (cut off)."""
    if not is_file(path):
        return None
    try:
        return json.loads(read_bytes(path))
    except (ValueError, RecursionError):
        return None


def read_arrays(path: str) -> dict[str, np.ndarray] | None:
    """Returns what `write_arrays` wrote; None where the file is missing or corrupted."""
    if not is_file(path):
        return None
    try:
        with np.load(io.BytesIO(read_bytes(path)), allow_pickle=False) as file:
            return dict(file)
    except (ValueError, TypeError, EOFError, KeyError, zipfile.BadZipFile, zlib.error):
        return None


def _match(pattern: str, limit: int | None = None) -> list[str]:
    with remote(pattern) as filesystems:
        found = filesystems.match([pattern], limits=[limit])
        return [metadata.path for metadata in found[0].metadata_list]


@contextlib.contextmanager
def remote(path: str) -> Iterator:
    """Gives Beam's filesystems; raises UserError naming `path` for what they raise."""
    from apache_beam.io.filesystems import FileSystems  # Slow to import, and rarely needed.

    try:
        yield FileSystems
    except UserError:
        raise
    except Exception as error:  # Each cloud's library has exceptions of its own.
        raise UserError(f"{path}: cannot be read ({first_line(error)})") from error


@contextlib.contextmanager
def reading_from(path: str) -> Iterator[None]:
    """Raises UserError naming a remote path for what reading it raises; a local one's as it is."""
    with remote(path) if is_remote(path) else contextlib.nullcontext():
        yield


def set_remote_options(arguments: Sequence[str]) -> None:
    """Sets what Beam's filesystems need to know, such as `--s3_endpoint_url=…` or `--hdfs_host=…`.

    The records job does this with its own Beam options.
    """
    from apache_beam.io.filesystems import FileSystems
    from apache_beam.options.pipeline_options import PipelineOptions

    FileSystems.set_options(PipelineOptions(list(arguments)))


def download(path: str, local: str, report: Callable[[int], object] | None = None) -> None:
    """Copies a file to a local path, which is overwritten.

    Args:
      path: local or remote.
      local: the copy's path.
      report: if given, is called with the number of bytes after each block of them.

    Raises:
      UserError: `path` is remote and cannot be read.
      OSError: a local path cannot be read or written.
    """
    with open_bytes(path) as source, open(local, "wb") as target:
        while block := _read_block(path, source):
            target.write(block)
            if report:
                report(len(block))


def _read_block(path: str, source: IO[bytes]) -> bytes:
    with reading_from(path):
        return source.read(_BLOCK)


@contextlib.contextmanager
def local_copy(path: str) -> Iterator[str]:
    """Gives a local path of a file: for TensorFlow, which reads few of Beam's filesystems.

    A remote file is copied, and the copy removed when the block ends.
    """
    if not is_remote(path):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        local = os.path.join(folder, path.rpartition("/")[2])
        download(path, local)
        yield local
