"""Paths, listing, reading and atomic writing: local, or remote (gs://, s3://, hdfs://) by Beam.

The only place that writes a file under a temporary name.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from typing import IO, Any

from imcap.errors import UserError, one_line

IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp")
TEMPORARY = "tmp-"  # How the name of an unfinished file begins.
_BLOCK = 1 << 24  # Bytes copied at a time.


def is_image(name: str) -> bool:
    """Tells whether a file name is an image's; hidden ones (macOS leaves `._x.jpg`) are not."""
    return name.lower().endswith(IMAGE_EXTENSIONS) and not name.startswith(".")


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


@contextlib.contextmanager
def replacing(path: str, *, durable: bool = True) -> Iterator[str]:
    """Yields a local temporary path; what is written there becomes `path` when the block ends.

    Readers of `path` see the old file or the whole new one, and a block that raises changes
    nothing. A folder is replaced the same way where `path` does not exist yet.

    Args:
      path: local or remote.
      durable: wait until file and folder are on the disk, so that they outlive a power cut.

    Raises:
      UserError: the file cannot be moved to `path`.
    """
    folder, name = os.path.split(path)
    unfinished = os.path.join(folder, f"{TEMPORARY}{uuid.uuid4().hex}-{name}")
    local = unfinished
    if is_remote(path):
        local = os.path.join(tempfile.gettempdir(), os.path.basename(unfinished))
    try:
        yield local
        with write_errors(path):
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
        write_errors(path),
        replacing(path, durable=durable) as temporary,
        open(temporary, "wb") as file,
    ):
        file.write(raw)


def write_json(path: str, value: Any, *, durable: bool = True, **options: Any) -> None:
    """Writes a value as JSON and a line's end; `options` are those of json.dumps."""
    write_text(path, json.dumps(value, **options) + "\n", durable=durable)


def read_json(path: str) -> Any | None:
    """Returns a JSON file's value; None where the file is missing or was cut off."""
    if not is_file(path):
        return None
    try:
        return json.loads(read_bytes(path))
    except ValueError:
        return None


@contextlib.contextmanager
def write_errors(path: str) -> Iterator[None]:
    """Raises a UserError that names `path` for what a failed write raises, as on a full disk."""
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


@contextlib.contextmanager
def local_copy(path: str) -> Iterator[str]:
    """Gives a local path of a file, a copy for a time where it is remote: TensorFlow reads few of
    the filesystems that Beam does."""
    if not is_remote(path):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        local = os.path.join(folder, path.rpartition("/")[2])
        with open_bytes(path) as source, open(local, "wb") as target:
            shutil.copyfileobj(source, target, _BLOCK)
        yield local
