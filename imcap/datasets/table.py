"""Photos and captions listed in a table: CSV, TSV, JSON Lines or Parquet, text also gzipped.

One row per caption, or one row per photo with a list of captions (JSON Lines, Parquet). The rows
of one photo may stand anywhere, so captions are grouped in memory: about 0.3 kB each.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Iterator, Sequence
from typing import Any

from imcap.datasets import photos as find
from imcap.datasets import rows, splits
from imcap.datasets.base import CaptionedImage, Problems, require_some
from imcap.errors import UserError

_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
_ENDINGS = (*_SUFFIXES, *(f"{suffix}.gz" for suffix in _SUFFIXES if suffix != ".parquet"))


@dataclasses.dataclass(frozen=True)
class _Columns:
    image: str
    caption: str
    id: str
    split: str

    def named(self) -> list[str]:
        return [name for name in dataclasses.astuple(self) if name]


@dataclasses.dataclass(slots=True)
class _Entry:
    path: str
    split: str
    captions: list[str]


def read(config: Any, problems: Problems) -> Iterator[CaptionedImage]:
    """Yields the photos in the order of their first rows.

    The image id is the id column's value, or the image column's. A split column's `val`, `valid`
    and `validation` are `dev`; without one a seeded ratio splits the photos.

    Args:
      config: `dir`; optional `captions` (the table, relative to `dir`; needed if `dir` has
        several), `images` (the folder that the image column is relative to; by default `dir`,
        then `dir/images`; an absolute path in the column stays one), `columns` (`image` and
        `caption`, called so by default; optional `id` and `split`), `ratios` and `seed`.
      problems: counts missing photos, empty captions and malformed rows.

    Raises:
      UserError: for a missing table or column, naming the columns that there are.
    """
    folder = find.data_folder(config)
    path, columns = _table_file(config, folder), _columns(config)
    photos = find.Photos.of(config, folder, (".", "images", "Images"))
    grouping = _Grouping(config, columns, photos, problems)
    images = grouping.images(_rows(path, columns, problems))
    yield from require_some(images, f"{folder} ({path})", problems)


class _Grouping:
    """Gathers the rows of each photo, which has one id and one split."""

    def __init__(
        self, config: Any, columns: _Columns, photos: find.Photos, problems: Problems
    ) -> None:
        self._columns, self._photos, self._problems = columns, photos, problems
        self._by_ratio = None if columns.split else splits.ratio_split(config)
        self._entries: dict[str, _Entry] = {}
        self._ids: dict[str, str] = {}  # By path: a photo with two ids could be in two splits.

    def images(self, table: Iterator[tuple[str, dict[str, Any]]]) -> Iterator[CaptionedImage]:
        """Yields the photos of the table's rows, in the order of their first rows."""
        for where, row in table:
            self._add(where, row)
        for image_id, entry in self._entries.items():
            if entry.captions:
                yield CaptionedImage(image_id, entry.path, tuple(entry.captions), entry.split)
            else:
                self._problems.add("photos without captions", image_id)

    def _add(self, where: str, row: dict[str, Any]) -> None:
        name = rows.clean(row.get(self._columns.image))
        image_id = rows.clean(row.get(self._columns.id)) if self._columns.id else name
        found = self._photos.find(name) if name else None
        split = self._split(image_id, row)
        if not name or not image_id:
            self._problems.add("rows without an image", where)
        elif not split:
            self._problems.add("rows without a usable split", where)
        elif found is None:
            self._problems.add("rows whose photo is missing", f"{name}, {where}")
        elif self._ids.get(found, image_id) != image_id:
            self._problems.add("rows that give a photo another id", where)
        else:
            self._append(image_id, _Entry(found, split, []), row, where)

    def _append(self, image_id: str, new: _Entry, row: dict[str, Any], where: str) -> None:
        entry = self._entries.setdefault(image_id, new)
        if (entry.path, entry.split) != (new.path, new.split):
            self._problems.add("rows that give an id another photo or split", where)
        else:
            self._ids[entry.path] = image_id
            entry.captions += _captions(row.get(self._columns.caption), where, self._problems)

    def _split(self, image_id: str, row: dict[str, Any]) -> str:
        if self._by_ratio:
            return self._by_ratio.split_of(image_id)
        return splits.canonical(rows.clean(row.get(self._columns.split)))


def _captions(value: Any, where: str, problems: Problems) -> list[str]:
    texts = [rows.clean(text) for text in (value if isinstance(value, list) else [value])]
    if not all(texts) or not texts:
        problems.add("empty captions", where)
    return [text for text in texts if text]


def _columns(config: Any) -> _Columns:
    given = dict(config.get("columns") or {})
    names = {
        field.name: str(given.pop(field.name, "") or "") for field in dataclasses.fields(_Columns)
    }
    if given:
        raise UserError(
            f"config.dataset.columns: no such field {sorted(given)[0]!r};"
            " there are image, caption, id, split"
        )
    names["image"], names["caption"] = names["image"] or "image", names["caption"] or "caption"
    return _Columns(**names)


def _table_file(config: Any, folder: str) -> str:
    if config.get("captions"):
        path = find.captions_file(config, folder, ())
        if not path.endswith(_ENDINGS):
            raise UserError(f"{path}: not a table; its name must end in {', '.join(_ENDINGS)}")
        return path
    tables = [name for name in sorted(os.listdir(folder)) if name.endswith(_ENDINGS)]
    if len(tables) != 1:
        raise UserError(
            f"{folder}: {', '.join(tables) or 'no table'} here; name the table with"
            f" config.dataset.captions (it ends in {', '.join(_SUFFIXES)})"
        )
    return os.path.join(folder, tables[0])


def _rows(path: str, columns: _Columns, problems: Problems) -> Iterator[tuple[str, dict[str, Any]]]:
    plain = path.removesuffix(".gz")
    if plain.endswith(".parquet"):
        return _parquet_rows(path, columns)
    if plain.endswith((".jsonl", ".ndjson")):
        return _json_rows(path, columns, problems)
    return _csv_rows(path, columns, problems)


def _require(path: str, columns: _Columns, present: Sequence[str]) -> None:
    for name in columns.named():
        if name not in present:
            near = difflib.get_close_matches(name, present, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise UserError(
                f"{path}: there is no column {name!r} among {', '.join(map(repr, present))}{hint};"
                " name the columns with config.dataset.columns"
            )


def _csv_rows(
    path: str, columns: _Columns, problems: Problems
) -> Iterator[tuple[str, dict[str, Any]]]:
    tabs = path.removesuffix(".gz").endswith(".tsv")
    # A tab-separated caption may start with a quotation mark that nothing closes.
    read = rows.read_csv(path, problems, "\t", 1) if tabs else rows.read_csv(path, problems)
    first = next(read, None)
    if first is None:
        return
    _, text, fields = first
    header = [name.strip() for name in fields or text.split("\t" if tabs else ",")]
    _require(path, columns, header)
    # Unquoted commas can only be told from delimiters in the last column.
    open_ended = header[-1] == columns.caption
    for number, text, fields in read:
        if open_ended:
            fields = rows.last_takes_rest(text, fields, len(header), "\t" if tabs else ",")
        if fields and len(fields) == len(header):
            yield f"{path}, line {number}", dict(zip(header, fields, strict=True))
        else:
            problems.add("malformed rows", f"{path}, line {number}")


def _json_rows(
    path: str, columns: _Columns, problems: Problems
) -> Iterator[tuple[str, dict[str, Any]]]:
    for index, (number, row) in enumerate(rows.read_json_lines(path, problems)):
        if index == 0:
            _require(path, columns, list(row))
        yield f"{path}, line {number}", row


def _parquet_rows(path: str, columns: _Columns) -> Iterator[tuple[str, dict[str, Any]]]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            _require(path, columns, file.schema_arrow.names)
            number = 0
            for batch in file.iter_batches(batch_size=4096, columns=columns.named()):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}, row {number}", row
    except UserError:
        raise
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: not a readable Parquet file ({reason})") from error
