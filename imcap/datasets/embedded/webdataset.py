"""WebDataset: tar files of images, each with a text or JSON file of the same name in the tar.

000000.jpg  000000.txt  000000.json        shapes/01.png  shapes/01.txt
"""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator
from typing import Any

from imcap import filesystem
from imcap.datasets.base import Problems
from imcap.datasets.embedded.reader import EmbeddedReader
from imcap.datasets.parted import Entry, Part
from imcap.errors import UserError, one_line

_MAX_TEXT = 1 << 20  # Bytes of a text that is read.
_TEXTS = (".json", ".txt")

# Where a member's bytes begin, how many they are, and what they are where it is a text.
_Member = tuple[int, int, bytes]


class WebDataset(EmbeddedReader):
    """Reads tar files that are not compressed.

    The image id is the image's name in the tar, or what the JSON has under `columns.id`. Captions
    are the JSON's `columns.caption`, a string or a list, else the lines of the text file.

    Problems: images without captions, texts without an image, and tars that end too early; what is
    before the end of such a tar is used.
    """

    kind = "tar file"
    patterns = ("*.tar",)

    def entries(self, part: Part, problems: Problems) -> Iterator[tuple[str, Entry]]:
        """Yields the images of a tar in their order; its texts are in memory."""
        with filesystem.reading_from(part.path):
            members = _members(part.path, problems)
        stems = {os.path.splitext(name)[0] for name in filter(filesystem.is_image, members)}
        for name, (start, length, _) in members.items():
            where, (stem, ending) = f"{part.path}, {name}", os.path.splitext(name)
            if filesystem.is_image(name):
                row = self._row(members, stem, where, problems)
                address = filesystem.address(part.path, start, length)
                yield from self.entry(where, part.path, address, name, row, problems)
            elif ending == ".txt" and stem not in stems:
                problems.add("text files without an image", where)

    def _row(
        self, members: dict[str, _Member], stem: str, where: str, problems: Problems
    ) -> dict[str, Any]:
        row: dict[str, Any] = {}
        if found := members.get(f"{stem}.json"):
            row = _json_object(found[2], where, problems)
        text = members.get(f"{stem}.txt")
        if not row.get(self.columns.caption) and text:
            row[self.columns.caption] = _lines(text[2], where, problems)
        return row


def _json_object(raw: bytes, where: str, problems: Problems) -> dict[str, Any]:
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict):
        return value
    problems.add("JSON files that hold no object", where)
    return {}


def _lines(raw: bytes, where: str, problems: Problems) -> list[str]:
    try:
        lines = raw.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        problems.add("text files that are not UTF-8", where)
        return []
    return [line for line in lines if line.strip()]


def _members(path: str, problems: Problems) -> dict[str, _Member]:
    """Returns the images and texts of a tar by name; of a name that is there twice, the last."""
    found: dict[str, _Member] = {}
    try:
        with filesystem.open_bytes(path) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            try:
                for member in tar:
                    _add(found, tar, member)
            except (tarfile.TarError, EOFError, ValueError, OverflowError):
                is_whole = False  # A damaged header may name any size.
            else:
                # tarfile takes any block that is no header for the end, which is a block of zeros.
                file.seek(tar.offset)
                is_whole = file.read(tarfile.BLOCKSIZE) == bytes(tarfile.BLOCKSIZE)
            if not is_whole:
                problems.add("tar files that end too early", f"{path}, byte {tar.offset}")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(
            f"{path}: not a tar file that can be read ({one_line(error)}); a compressed one has to "
            "be unpacked first"
        ) from error
    return found


def _is_hidden(name: str) -> bool:
    return os.path.basename(name).startswith(".")


def _add(found: dict[str, _Member], tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    name = member.name.removeprefix("./")
    is_text = name.endswith(_TEXTS)
    is_used = (is_text or filesystem.is_image(name)) and not _is_hidden(name)
    if not member.isreg() or member.issparse() or not is_used:
        return
    text = b""
    if is_text and member.size <= _MAX_TEXT and (content := tar.extractfile(member)):
        text = content.read()
    found[name] = member.offset_data, member.size, text
