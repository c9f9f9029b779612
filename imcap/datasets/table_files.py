"""Files of tables: which there are, the parts they can be read in, and lines in them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import IO

from imcap import filesystem
from imcap.datasets import image_folders, table_rows
from imcap.datasets.embedded import parquet
from imcap.datasets.parted import Part
from imcap.errors import UserError

_TEXT = (".csv", ".tsv", ".jsonl", ".ndjson")
_ENDINGS = (*_TEXT, *(f"{ending}.gz" for ending in _TEXT), ".parquet")
PART_BYTES = 64_000_000
_BLOCK = 1 << 24  # Bytes read at a time.


def find_tables(named: str, folder: str) -> list[str]:
    """Returns the paths of the tables in a folder.

    Args:
      named: one table, or a pattern that may fit several; empty: the only table in the folder.
      folder: the data set's.

    Raises:
      UserError: there is none, several and none is named, or a named one is not a table.
    """
    named = os.path.expanduser(named)
    if not named:
        return [_only_table(folder)]
    if any(sign in named for sign in "*?["):
        found = filesystem.match(named, folder)
        if not found:
            raise UserError(f"config.dataset.captions: no file fits {named} in {folder}")
    else:
        found = [image_folders.captions_file(named, folder, ())]
    for path in found:
        if not path.endswith(_ENDINGS):
            raise UserError(f"{path}: not a table; its name must end in {', '.join(_ENDINGS)}")
    return found


def _only_table(folder: str) -> str:
    tables = [name for name in sorted(filesystem.file_names(folder)) if name.endswith(_ENDINGS)]
    if len(tables) != 1:
        raise UserError(
            f"{folder}: {', '.join(tables) or 'no table'} here; name the table with"
            f" config.dataset.captions (it ends in {', '.join(_ENDINGS)})"
        )
    return filesystem.join(folder, tables[0])


def parts(path: str) -> Iterator[Part]:
    """Yields the parts of a file in their order.

    A gzipped file is one part: no reader can begin in the middle of it. A huge table in gzipped
    text should be several files.
    """
    if path.endswith(".parquet"):
        with table_rows.open_parquet(path) as file:
            yield from (Part(path, index, index + 1) for index in range(file.num_row_groups))
    elif path.endswith(_TEXT):
        for start in range(0, max(filesystem.size(path), 1), PART_BYTES):
            yield Part(path, start, start + PART_BYTES)
    else:
        yield Part(path)


def text_bytes(paths: Sequence[str], image: str) -> int:
    """Returns about how many bytes of text tables hold.

    Args:
      paths: of tables of one kind.
      image: the images' column.
    """
    sizes = {path: filesystem.size(path) for path in paths}
    if paths[0].endswith(".parquet"):
        with table_rows.open_parquet(paths[0]) as file:
            if parquet.holds_images(file.schema_arrow, image):
                text = parquet.text_bytes(file.metadata, image)
                return sum(sizes.values()) * text // sizes[paths[0]]
    return sum(n * (4 if p.endswith((".gz", ".parquet")) else 1) for p, n in sizes.items())


def with_line_number(where: str, path: str) -> str:
    """Returns `…PATH, byte N` as `…PATH, line M`; anything else unchanged.

    Reads the file up to the offset, in blocks.
    """
    before, found, offset = where.rpartition(f"{path}, byte ")
    if not found or not offset.isdecimal():
        return where
    try:
        with filesystem.open_bytes(path) as handle:
            return f"{before}{path}, line {1 + _count_lines(handle, int(offset))}"
    except (OSError, UserError):
        return where  # The offset is still right.


def _count_lines(handle: IO[bytes], end: int) -> int:
    """Returns how many lines end in the first `end` bytes."""
    count = 0
    while end > 0 and (block := handle.read(min(end, _BLOCK))):
        count += block.count(b"\n")
        end -= len(block)
    return count
