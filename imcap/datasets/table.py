"""Images and captions listed in a table: CSV, TSV, JSON Lines or Parquet, text also gzipped.

One row per caption, or one row per image with a list of captions (JSON Lines, Parquet). The rows
of one image may stand anywhere, also in several files. CSV is delimited by `,`, `;` or tab.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from imcap import filesystem
from imcap.datasets import image_folders, splits, table_files, table_rows, text_rows
from imcap.datasets.base import Problems, Settings
from imcap.datasets.parted import Entry, Part, PartedReader


class Table(PartedReader):
    """Reads tables.

    The image id is the id column's value, or the image column's. A split column's `val`, `valid`
    and `validation` are `dev`; without that column a seeded ratio splits the images.

    Settings: `dir`; optional `captions` (the table, relative to `dir`, or a pattern such as
    `part-*.parquet`; needed if `dir` has several), `images` (the folder that the image column is
    relative to; by default `dir`, then `dir/images`; an absolute path or URL in the column stays
    one), `columns` (`image` and `caption`, called so by default; optional `id` and `split`),
    `ratios` and `seed`.

    Problems: missing images, empty captions and malformed rows.
    """

    def __init__(self, settings: Settings) -> None:
        """Finds the files; raises UserError where there are none."""
        super().__init__(settings)
        folder = image_folders.data_folder(settings.dir)
        self._paths = table_files.find_tables(settings.captions, folder)
        self._columns = table_rows.Columns.from_mapping(settings.columns)
        # A table may list more images than there is memory for their names.
        self._images = image_folders.ImageFolders.of(
            settings.images, folder, (".", "images", "Images"), is_listed=False
        )
        self.name = f"{folder} ({', '.join(self._paths[:3])})"
        self._by_ratio = None if self._columns.split else splits.ratio_split(settings, self.name)

    def files(self) -> list[Part]:
        """Returns the tables, each as one part."""
        return [Part(path) for path in self._paths]

    def parts(self) -> Iterator[Part]:
        """Yields the parts of all tables, in their order."""
        for path in self._paths:
            yield from table_files.parts(path)

    def size(self) -> int:
        """Returns the tables' bytes; those of a compressed one count four times."""
        packed = (".gz", ".parquet")
        return sum(filesystem.size(p) * (4 if p.endswith(packed) else 1) for p in self._paths)

    def entries(self, part: Part, problems: Problems) -> Iterator[tuple[str, Entry]]:
        """Yields where a row stands and what it says.

        Raises:
          UserError: for a missing column, naming the columns that there are; for a table that
            cannot be read.
        """
        for where, row in table_rows.read(part, self._columns, problems):
            yield from self._entry(where, row, problems)

    def with_line_number(self, where: str) -> str:
        """Returns a place with its line number instead of the offset in bytes."""
        for path in self._paths:
            where = table_files.with_line_number(where, path)
        return where

    def _entry(
        self, where: str, row: dict[str, Any], problems: Problems
    ) -> Iterator[tuple[str, Entry]]:
        name = text_rows.clean(row.get(self._columns.image))
        image_id = text_rows.clean(row.get(self._columns.id)) if self._columns.id else name
        split = self._split(image_id, row)
        if not name or not image_id:
            problems.add("rows without an image name", where)
        elif not split:
            problems.add("rows without a usable split", where)
        elif path := self._images.find(name):
            captions = _captions(row.get(self._columns.caption), where, problems)
            yield where, Entry(image_id, path, split, captions)
        else:
            yield f"{self._images.tried(name)}, {where}", Entry(image_id, "", split, [])

    def _split(self, image_id: str, row: dict[str, Any]) -> str:
        if self._by_ratio:
            return self._by_ratio.split_of(image_id)
        return splits.canonical(text_rows.clean(row.get(self._columns.split)))


def _captions(value: Any, where: str, problems: Problems) -> list[str]:
    texts = [text_rows.clean(text) for text in (value if isinstance(value, list) else [value])]
    if not all(texts) or not texts:
        problems.add("empty captions", where)
    return [text for text in texts if text]
