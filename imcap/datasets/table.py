"""Images and captions listed in a table: CSV, TSV, JSON Lines or Parquet, text also gzipped.

One row per caption, or one row per image with a list of captions (JSON Lines, Parquet). The rows
of one image may stand anywhere, also in several files. CSV is delimited by `,`, `;` or tab. The
image column of Parquet holds paths, or the images themselves: binaries, or Hugging Face's structs
of `bytes` and `path`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from imcap import filesystem
from imcap.datasets import image_folders, splits, table_files, table_rows, text_rows
from imcap.datasets.base import Problems, Settings
from imcap.datasets.embedded.parquet import EmbeddedImage
from imcap.datasets.parted import Entry, Part, PartedReader


class Table(PartedReader):
    """Reads tables.

    The image id is the id column's value, or the image column's; that of an embedded image is the
    struct's path, else the file with the row's number. A split column's `val`, `valid` and
    `validation` are `dev`; without that column the names of Parquet files (`train-00000.parquet`)
    or a seeded ratio split the images.

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
        is_parquet = all(path.endswith(".parquet") for path in self._paths)
        self._splits = splits.FileSplits(
            settings, self._columns.split, self._paths if is_parquet else (), self.name
        )

    def files(self) -> list[Part]:
        """Returns the tables, each as one part."""
        return [Part(path) for path in self._paths]

    def parts(self) -> Iterator[Part]:
        """Yields the parts of all tables, in their order."""
        for path in self._paths:
            yield from table_files.parts(path)

    def size(self) -> int:
        """Returns about how many bytes of text the tables hold."""
        return self._text_bytes

    @functools.cached_property
    def _text_bytes(self) -> int:  # In a bucket, the size of each file is a request.
        return table_files.text_bytes(self._paths, self._columns.image)

    def entries(self, part: Part, problems: Problems) -> Iterator[tuple[str, Entry]]:
        """Yields where a row stands and what it says.

        Raises:
          UserError: for a missing column, naming the columns that there are; for a table that
            cannot be read.
        """
        for where, row in table_rows.read(part, self._columns, problems):
            yield from self._entry(part.path, where, row, problems)

    def with_line_number(self, where: str) -> str:
        """Returns a place with its line number instead of the offset in bytes."""
        for path in self._paths:
            where = table_files.with_line_number(where, path)
        return where

    def _entry(
        self, path: str, where: str, row: dict[str, Any], problems: Problems
    ) -> Iterator[tuple[str, Entry]]:
        image = row.get(self._columns.image)
        name = self._name(path, where, image)
        image_id = text_rows.clean(row.get(self._columns.id)) if self._columns.id else name
        split = self._splits.split_of(image_id, path, row.get(self._columns.split))
        if not name or not image_id:
            problems.add("rows without an image name", where)
        elif not split:
            problems.add("rows without a usable split", where)
        elif found := self._find(image, name):
            captions = text_rows.captions(row.get(self._columns.caption), where, problems)
            yield where, Entry(image_id, found, split, captions)
        else:
            # A row that embeds neither an image nor a path has no file that could be missing.
            is_path = not isinstance(image, EmbeddedImage) or image.name
            tried = self._images.tried(name) if is_path else image_id
            yield f"{tried}, {where}", Entry(image_id, "", split, [])

    def _name(self, path: str, where: str, image: Any) -> str:
        """Returns an image's name; a row that embeds one without a name is called by its number."""
        if not isinstance(image, EmbeddedImage):
            return text_rows.clean(image)
        number = where.rpartition(" ")[2]
        folder = self.settings.dir
        return text_rows.clean(image.name) or f"{filesystem.relative_to(path, folder)}/{number}"

    def _find(self, image: Any, name: str) -> str | None:
        address = image.address if isinstance(image, EmbeddedImage) else ""
        return address or self._images.find(name)
