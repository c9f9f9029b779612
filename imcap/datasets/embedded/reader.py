"""What the readers of files that hold images and their captions have in common."""

from __future__ import annotations

import abc
import functools
import os
from collections.abc import Iterator, Mapping
from typing import Any

from imcap import filesystem
from imcap.datasets import image_folders, splits, text_rows
from imcap.datasets.base import Problems, Settings
from imcap.datasets.parted import Entry, Part, PartedReader
from imcap.datasets.table_rows import Columns
from imcap.errors import UserError

# About how many bytes of a file with images come with one byte of text.
_BYTES_PER_TEXT_BYTE = 200


class EmbeddedReader(PartedReader):
    """Reads files that hold images and captions; each file is one part.

    Settings: `dir`; optional `captions` (a file, relative to `dir`, or a pattern that fits several;
    by default all files of the kind in `dir`, else in its folders), `columns`, `ratios` and `seed`.
    The split is the column's, else the one that the names of all files or their folders begin with
    (`train-00000.tar`, `val/00000.tar`), else by a seeded ratio.
    """

    kind: str  # Of the files, for messages.
    patterns: tuple[str, ...]  # Of the files' names; the first one that fits any file is used.

    def __init__(self, settings: Settings) -> None:
        """Finds the files; raises UserError where there are none."""
        super().__init__(settings)
        if settings.images:
            raise UserError(
                f"config.dataset.images: must be empty, not {settings.images}: a {self.kind} holds "
                "its images"
            )
        self.folder = image_folders.data_folder(settings.dir)
        self.columns = Columns.from_mapping(settings.columns)
        paths = self._find()
        self._files = [Part(path) for path in paths]
        self.name = f"{self.folder} ({', '.join(paths[:3])})"
        self._splits = splits.FileSplits(settings, self.columns.split, paths, self.name)

    def files(self) -> list[Part]:
        """Returns the files, each as one part."""
        return self._files

    def parts(self) -> Iterator[Part]:
        """Yields the files."""
        return iter(self._files)

    def size(self) -> int:
        """Returns about how many bytes the captions have."""
        return self._text_bytes

    @functools.cached_property
    def _text_bytes(self) -> int:  # In a bucket, the size of each file is a request.
        return sum(filesystem.size(part.path) for part in self._files) // _BYTES_PER_TEXT_BYTE

    def with_line_number(self, where: str) -> str:
        """Returns the place as it is: no lines are read."""
        return where

    @abc.abstractmethod
    def entries(self, part: Part, problems: Problems) -> Iterator[tuple[str, Entry]]:
        """Yields where an example stands and what it says.

        Raises:
          UserError: the file is of another kind, cannot be read, or has no such column.
        """

    def entry(
        self, where: str, path: str, address: str, name: str, row: Mapping[str, Any],
        problems: Problems,
    ) -> Iterator[tuple[str, Entry]]:  # fmt: skip
        """Yields an example as an entry, unless it cannot be used, which is counted.

        Args:
          where: the example stands.
          path: of its file.
          address: of its image; empty where it has none.
          name: the image's id where there is no column for it.
          row: the values by column.
          problems: counts what is left out.
        """
        image_id = text_rows.clean(row.get(self.columns.id)) if self.columns.id else name
        split = self._splits.split_of(image_id, path, row.get(self.columns.split))
        if not image_id:
            problems.add("images without an id", where)
        elif not split:
            problems.add("rows without a usable split", where)
        elif address:
            captions = text_rows.captions(row.get(self.columns.caption), where, problems)
            yield where, Entry(image_id, address, split, captions)
        else:
            yield f"{image_id}, {where}", Entry(image_id, "", split, [])

    def _find(self) -> list[str]:
        if named := os.path.expanduser(self.settings.captions):
            if not any(sign in named for sign in "*?["):
                return [image_folders.captions_file(named, self.folder, ())]
            patterns: tuple[str, ...] = (named,)
        else:
            patterns = tuple(f"{below}{p}" for below in ("", "*/") for p in self.patterns)
        found = (filesystem.match(pattern, self.folder) for pattern in patterns)
        paths = next(filter(None, found), [])
        if not paths:
            raise UserError(
                f"{self.folder}: no {self.kind} here; looked for {', '.join(patterns)}; name them "
                "with config.dataset.captions"
            )
        return paths
