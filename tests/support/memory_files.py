"""A bucket in memory, `memory://`: Beam finds a filesystem by its scheme once it is imported."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

from apache_beam.io.filesystem import BeamIOError, FileMetadata, FileSystem

FILES: dict[str, bytes] = {}


class _Upload(io.BytesIO):
    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def close(self) -> None:
        if not self.closed:
            if not self.getvalue():
                raise RuntimeError("an empty file, which Beam cannot write to s3://")
            FILES[self._path] = self.getvalue()
        super().close()


class MemoryFileSystem(FileSystem):
    """A flat store of names and contents, like gs:// or s3://: there are no folders."""

    @classmethod
    def scheme(cls) -> str:
        return "memory"

    def join(self, basepath: str, *paths: str) -> str:
        return "/".join([basepath.rstrip("/"), *paths])

    def split(self, path: str) -> tuple[str, str]:
        head, _, tail = path.rpartition("/")
        return head, tail

    def mkdirs(self, path: str) -> None:
        del path

    def has_dirs(self) -> bool:
        return False

    def _list(self, dir_or_prefix: str) -> Iterator[FileMetadata]:
        for path in sorted(FILES):
            if path.startswith(dir_or_prefix):
                yield FileMetadata(path, len(FILES[path]))

    def create(self, path: str, mime_type: str = "", compression_type: str = "") -> io.BytesIO:
        return _Upload(path)

    def open(self, path: str, mime_type: str = "", compression_type: str = "") -> io.BytesIO:
        return io.BytesIO(self._content(path))

    def _content(self, path: str) -> bytes:
        if path not in FILES:
            raise BeamIOError(f"there is no {path}")
        return FILES[path]

    def copy(self, source_file_names: list[str], destination_file_names: list[str]) -> None:
        for source, target in zip(source_file_names, destination_file_names, strict=True):
            FILES[target] = self._content(source)

    def rename(self, source_file_names: list[str], destination_file_names: list[str]) -> None:
        self.copy(source_file_names, destination_file_names)
        self.delete(source_file_names)

    def exists(self, path: str) -> bool:
        return path in FILES

    def size(self, path: str) -> int:
        return len(self._content(path))

    def last_updated(self, path: str) -> float:
        return 0.0

    def checksum(self, path: str) -> str:
        return str(hash(self._content(path)))

    def metadata(self, path: str) -> FileMetadata:
        return FileMetadata(path, self.size(path))

    def delete(self, paths: list[str]) -> None:
        for path in paths:
            FILES.pop(path, None)


class Metered(io.RawIOBase):
    """A file in the bucket that counts the bytes that are fetched of it.

    Within an io.BufferedReader it is what Beam opens in s3://: each read after a jump fills the
    buffer, which is 16 MB there.
    """

    def __init__(self, content: bytes, fetched: list[int]) -> None:
        """`fetched`: gets the number of bytes of each fetch."""
        super().__init__()
        self._content, self._fetched = io.BytesIO(content), fetched

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._content.seek(offset, whence)

    def tell(self) -> int:
        return self._content.tell()

    def readinto(self, buffer: bytearray) -> int:
        self._fetched.append(self._content.readinto(buffer))
        return self._fetched[-1]


def meter(monkeypatch, buffer_size: int) -> list[int]:
    """Returns a list that gets the number of bytes of each fetch from the bucket."""
    fetched: list[int] = []

    def open_metered(self, path: str, *_: object, **__: object) -> io.BufferedReader:
        return io.BufferedReader(Metered(self._content(path), fetched), buffer_size)

    monkeypatch.setattr(MemoryFileSystem, "open", open_metered)
    return fetched


def upload(folder: Path, url: str) -> None:
    """Puts a folder's files into the bucket."""
    for path in folder.rglob("*"):
        if path.is_file():
            FILES[f"{url}/{path.relative_to(folder).as_posix()}"] = path.read_bytes()


def download(url: str) -> dict[str, bytes]:
    """Returns what is in the bucket by its name below `url`."""
    return {p.removeprefix(url + "/"): c for p, c in FILES.items() if p.startswith(url + "/")}
