"""Images as bytes: an image file, or a range of bytes within a file of many images.

An address names the range and stands where a path of an image does:

- `FILE#START+LENGTH`: bytes of the file, as in a tar or a TFRecord file;
- `FILE#GROUP/COLUMN:START+LENGTH`: bytes of a Parquet row group's images, one after the other.

A range of a file is read alone. Parquet compresses its columns in pages, so no image of it can be
read alone: `unpacked` names a folder where each row group's images are written as they are, once.
"""

from __future__ import annotations

import functools
import os
import re
import threading
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

from imcap import hashing
from imcap.errors import UserError, first_line
from imcap.filesystem import reading, writing
from imcap.filesystem.paths import is_remote, join

_ADDRESS = re.compile(
    r"(?P<path>.+)#(?:(?P<group>\d{1,9})/(?P<column>.+):)?(?P<start>\d{1,18})\+(?P<length>\d{1,18})",
    re.DOTALL,
)
UNPACKED = ".images"  # How the name of an unpacked row group ends.
_BATCH = 64  # Images of a Parquet file in memory at a time.
_LOCKS = [threading.Lock() for _ in range(64)]


class _Address(NamedTuple):
    path: str
    group: int | None
    column: str
    start: int
    length: int


def address(
    path: str, start: int, length: int, *, group: int | None = None, column: str = ""
) -> str:
    """Returns the address of an image's bytes; `group` and `column` for a Parquet file."""
    inner = "" if group is None else f"{group}/{column}:"
    return f"{path}#{inner}{start}+{length}"


def embedded_length(path: str) -> int | None:
    """Returns how many bytes the image of an address has; None for the path of a file."""
    found = _parse(path)
    return found.length if found else None


def read_image(path: str, unpacked: str = "") -> bytes:
    """Reads the bytes of an image.

    Args:
      path: of an image file, or an address.
      unpacked: a folder where row groups are unpacked, for many images in any order; empty: the
        row group is read again unless the last image was in it, too.

    Raises:
      OSError or UserError: they cannot be read.
    """
    found = _parse(path)
    if found is None:
        return reading.read_bytes(path)
    if found.group is None:
        return _read_range(found)
    if unpacked:
        return _read_unpacked(found, unpacked)
    with _lock(found):
        content = _group_bytes(found.path, found.group, found.column, reading.size(found.path))
    return _whole(content[found.start :][: found.length], found)


class InSequence:
    """Reads the images within one file, or one of its row groups, in their order.

    The file stays open and is read once, however large the buffer is that its filesystem fills
    for each read after a jump; a few images are in memory. A context manager.
    """

    def __init__(self, path: str) -> None:
        """Opens nothing yet; `path`: of the file."""
        self._path = path
        self._file: IO[bytes] | None = None
        self._group: tuple[int, str] | None = None
        self._images: Iterator[tuple[int, bytes]] = iter(())

    def __enter__(self) -> InSequence:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            self._file.close()

    def read(self, place: str) -> bytes:
        """Reads the image at an address in the file; none of a row group can be read again.

        Raises:
          OSError or UserError: it cannot be read.
        """
        found = _parse(place)
        if found is None or found.path != self._path:
            raise UserError(f"{place}: not an image in {self._path}")
        if found.group is not None:
            return self._read_in_group(found, found.group)
        with reading.reading_from(self._path):
            self._file = self._file or reading.open_bytes(self._path)
            self._file.seek(found.start)
            return _whole(self._file.read(found.length), found)

    def _read_in_group(self, wanted: _Address, group: int) -> bytes:
        if self._group != (group, wanted.column):
            self._group = group, wanted.column
            self._images = _group_images(self._path, group, wanted.column)
        for start, content in self._images:
            if start == wanted.start:
                return _whole(content, wanted)
        raise UserError(f"{self._path}: row group {group} has no image at {wanted.start}")


def _group_images(path: str, group: int, column: str) -> Iterator[tuple[int, bytes]]:
    """Yields where each image of a row group begins among its images, and the image."""
    start = 0
    for values in column_values(path, group, column):
        for value in _buffers(values):
            if len(value):
                yield start, value.to_pybytes()
            start += len(value)


def column_values(path: str, group: int, column: str) -> Iterator[Any]:
    """Yields Arrow arrays of binaries, in order: the images of a Parquet file's row group.

    Args:
      path: of the file.
      group: the number of the row group.
      column: of binaries, or of Hugging Face's structs of `bytes` and `path`.

    Raises:
      UserError: the file cannot be read.
    """
    import pyarrow
    from pyarrow import parquet

    with reading.reading_from(path):
        try:
            with reading.open_bytes(path) as handle, parquet.ParquetFile(handle) as file:
                for batch in file.iter_batches(_BATCH, row_groups=[group], columns=[column]):
                    yield binaries(batch[column])
        except (pyarrow.ArrowException, OSError) as error:
            raise UserError(
                f"{path}: row group {group} cannot be read ({first_line(error)})"
            ) from error


def binaries(column: Any) -> Any:
    """Returns an Arrow array of structs' or binaries' bytes; those of a null struct are null."""
    import pyarrow

    if not pyarrow.types.is_struct(column.type):
        return column
    return column.flatten()[column.type.get_field_index("bytes")]


def _parse(path: str) -> _Address | None:
    found = _ADDRESS.fullmatch(path)
    if not found:
        return None
    group = None if found["group"] is None else int(found["group"])
    return _Address(
        found["path"], group, found["column"] or "", int(found["start"]), int(found["length"])
    )


@functools.lru_cache(maxsize=1)
def _group_bytes(path: str, group: int, column: str, size: int) -> memoryview:
    """Returns a row group's images; `size` is the file's: another one is another file."""
    del size
    content = bytearray()
    for values in column_values(path, group, column):
        for value in _buffers(values):
            content += value
    return memoryview(content)


def _read_unpacked(wanted: _Address, folder: str) -> bytes:
    name = hashing.digest_of([wanted.path, wanted.group, wanted.column])
    copy = wanted._replace(path=join(folder, f"{name}{UNPACKED}"))
    try:
        return _read_range(copy)
    except (FileNotFoundError, UserError):
        with _lock(wanted):
            if not reading.is_file(copy.path):
                _unpack(wanted, copy.path)
    return _read_range(copy)


def _unpack(wanted: _Address, copy: str) -> None:
    """Writes the images of a row group to the file `copy`."""
    assert wanted.group is not None
    if not is_remote(copy):
        os.makedirs(os.path.dirname(copy), exist_ok=True)
    with (
        writing.writing_to(copy),
        writing.replacing(copy, durable=False) as temporary,
        open(temporary, "wb") as file,
    ):
        for values in column_values(wanted.path, wanted.group, wanted.column):
            file.writelines(_buffers(values))


def _lock(wanted: _Address) -> threading.Lock:
    """Returns a lock, so that threads that miss the same row group read it once."""
    return _LOCKS[hash((wanted.path, wanted.group)) % len(_LOCKS)]


def _buffers(values: Any) -> Iterator[Any]:
    return (value.as_buffer() for value in values if value.is_valid)


def _read_range(wanted: _Address) -> bytes:
    if not is_remote(wanted.path):
        with open(wanted.path, "rb") as file:
            file.seek(wanted.start)
            return _whole(file.read(wanted.length), wanted)
    with reading.remote(wanted.path), reading.open_bytes(wanted.path) as file:
        return _whole(_read_remote(file, wanted.start, wanted.length), wanted)


def _read_remote(file: IO[bytes], start: int, length: int) -> bytes:
    # A bucket's file may have a buffer of 16 MB, which every read would fill.
    unbuffered = getattr(file, "raw", file)
    unbuffered.seek(start)
    blocks, missing = [], length
    while missing > 0 and (block := unbuffered.read(missing)):
        blocks.append(block)
        missing -= len(block)
    return b"".join(blocks)


def _whole(content: bytes | memoryview, wanted: _Address) -> bytes:
    if len(content) < wanted.length:
        raise UserError(f"{wanted.path}: it ends before byte {wanted.start + wanted.length}")
    return bytes(content)
