"""Photos and captions listed in a table: CSV, TSV, JSON Lines or Parquet, text also gzipped.

One row per caption, or one row per photo with a list of captions (JSON Lines, Parquet). The rows
of one photo may stand anywhere, also in several files. `read` groups them in memory, about 0.3 kB
each; the records job reads parts of the files side by side and groups by way of Beam
(beam_jobs/table_rows.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from imcap import filesystem
from imcap.datasets import image_folders, splits, table_files, text_rows
from imcap.datasets.base import CaptionedImage, Problems, require_some


class Entry(NamedTuple):
    """What one row says of a photo."""

    image_id: str
    path: str
    split: str
    captions: list[str]


def read(config: Any, problems: Problems) -> Iterator[CaptionedImage]:
    """Yields the photos in the order of their first rows.

    The image id is the id column's value, or the image column's. A split column's `val`, `valid`
    and `validation` are `dev`; without one a seeded ratio splits the photos.

    Args:
      config: `dir`; optional `captions` (the table, relative to `dir`, or a pattern such as
        `part-*.parquet`; needed if `dir` has several), `images` (the folder that the image column
        is relative to; by default `dir`, then `dir/images`; an absolute path or URL in the column
        stays one), `columns` (`image` and `caption`, called so by default; optional `id` and
        `split`), `ratios` and `seed`.
      problems: counts missing photos, empty captions and malformed rows.

    Raises:
      UserError: for a missing table or column, naming the columns that there are.
    """
    table = Table(config)
    entries = (entry for part in table.whole() for entry in table.entries(part, problems))
    yield from require_some(merge(entries, problems), table.name, problems)


def first(config: Any) -> CaptionedImage | None:
    """Returns a photo of the first row that can be used, with that row's captions."""
    table, problems = Table(config), Problems()
    entries = (entry for part in table.whole() for entry in table.entries(part, problems))
    photos = (image for entry in entries for image in merge([entry], problems))
    return next(require_some(photos, table.name, problems), None)


class Table:
    """A config's table: what its rows say of photos."""

    def __init__(self, config: Any) -> None:
        """Finds the files; raises UserError where there are none."""
        folder = image_folders.data_folder(config)
        self._paths = table_files.find_tables(config, folder)
        self._columns = table_files.columns(config)
        # A table may tell of more photos than there is memory for their names.
        self._photos = image_folders.ImageFolders.of(
            config, folder, (".", "images", "Images"), is_listed=False
        )
        self._by_ratio = None if self._columns.split else splits.ratio_split(config)
        self.name = f"{folder} ({', '.join(self._paths[:3])})"

    def whole(self) -> list[table_files.Part]:
        """Returns the files, each as one part."""
        return [table_files.Part(path) for path in self._paths]

    def size(self) -> int:
        """Returns the files' bytes; a compressed one's are taken four times."""
        packed = (".gz", ".parquet")
        return sum(filesystem.size(p) * (4 if p.endswith(packed) else 1) for p in self._paths)

    def parts(self) -> Iterator[table_files.Part]:
        """Yields all files' parts that can be read side by side, in their order."""
        for path in self._paths:
            yield from table_files.parts(path)

    def entries(self, part: table_files.Part, problems: Problems) -> Iterator[tuple[str, Entry]]:
        """Yields where a row stands and what it says, for each row that can be used."""
        for where, row in table_files.read(part, self._columns, problems):
            entry = self._entry(where, row, problems)
            if entry:
                yield where, entry

    def _entry(self, where: str, row: dict[str, Any], problems: Problems) -> Entry | None:
        name = text_rows.clean(row.get(self._columns.image))
        image_id = text_rows.clean(row.get(self._columns.id)) if self._columns.id else name
        found = self._photos.find(name) if name else None
        split = self._split(image_id, row)
        if not name or not image_id:
            problems.add("rows without an image", where)
        elif not split:
            problems.add("rows without a usable split", where)
        elif found is None:
            problems.add("rows whose photo is missing", f"{name}, {where}")
        else:
            captions = _captions(row.get(self._columns.caption), where, problems)
            return Entry(image_id, found, split, captions)
        return None

    def _split(self, image_id: str, row: dict[str, Any]) -> str:
        if self._by_ratio:
            return self._by_ratio.split_of(image_id)
        return splits.canonical(text_rows.clean(row.get(self._columns.split)))


def merge(entries: Iterable[tuple[str, Entry]], problems: Problems) -> Iterator[CaptionedImage]:
    """Yields the photos that rows tell of, in the order of their first rows, which decide on path
    and split; counts the rows that say otherwise."""
    merged: dict[str, Entry] = {}
    for where, entry in entries:
        first = merged.setdefault(entry.image_id, entry)
        if first is entry:
            continue
        if (first.path, first.split) == (entry.path, entry.split):
            first.captions.extend(entry.captions)
        else:
            problems.add("rows that give an id another photo or split", where)
    for image_id, path, split, captions in merged.values():
        if captions:
            yield CaptionedImage(image_id, path, tuple(captions), split)
        else:
            problems.add("photos without captions", image_id)


def _captions(value: Any, where: str, problems: Problems) -> list[str]:
    texts = [text_rows.clean(text) for text in (value if isinstance(value, list) else [value])]
    if not all(texts) or not texts:
        problems.add("empty captions", where)
    return [text for text in texts if text]
