"""Rows of table files, whole or in parts: CSV, TSV, JSON Lines or Parquet, text also gzipped."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from imcap import filesystem
from imcap.datasets import image_folders, text_rows
from imcap.datasets.base import Problems
from imcap.errors import UserError

_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
_ENDINGS = (*_SUFFIXES, *(f"{suffix}.gz" for suffix in _SUFFIXES if suffix != ".parquet"))
_PART_BYTES = 64_000_000

# Where a row stands, and its values by column.
Row = tuple[str, dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Columns:
    """The names of the columns that are read; empty ones are not."""

    image: str
    caption: str
    id: str
    split: str

    def named(self) -> list[str]:
        """Returns the names that are not empty."""
        return [name for name in dataclasses.astuple(self) if name]


class Part(NamedTuple):
    """A part of a file that can be read without the rest: of lines the bytes, of Parquet the row
    groups from `start` up to `end`; of what has to be read in one go, None."""

    path: str
    start: int | None = None
    end: int | None = None


def columns(config: Any) -> Columns:
    """Returns `config.columns`; raises UserError for a field that there is not."""
    given = dict(config.get("columns") or {})
    names = {
        field.name: str(given.pop(field.name, "") or "") for field in dataclasses.fields(Columns)
    }
    if given:
        raise UserError(
            f"config.dataset.columns: no such field {sorted(given)[0]!r};"
            " there are image, caption, id, split"
        )
    names["image"], names["caption"] = names["image"] or "image", names["caption"] or "caption"
    return Columns(**names)


def find_tables(config: Any, folder: str) -> list[str]:
    """Returns the paths that `config.captions` names (a pattern may name several), or of the one
    table in the folder; raises UserError where there is none."""
    named = str(config.get("captions") or "")
    if any(sign in named for sign in "*?["):
        found = filesystem.match(filesystem.join(folder, os.path.expanduser(named)))
        if not found:
            raise UserError(f"config.dataset.captions: no file fits {named} in {folder}")
    elif named:
        found = [image_folders.captions_file(config, folder, ())]
    else:
        return [_only_table(folder)]
    for path in found:
        if not path.endswith(_ENDINGS):
            raise UserError(f"{path}: not a table; its name must end in {', '.join(_ENDINGS)}")
    return found


def _only_table(folder: str) -> str:
    tables = [name for name in sorted(filesystem.names(folder)) if name.endswith(_ENDINGS)]
    if len(tables) != 1:
        raise UserError(
            f"{folder}: {', '.join(tables) or 'no table'} here; name the table with"
            f" config.dataset.captions (it ends in {', '.join(_SUFFIXES)})"
        )
    return filesystem.join(folder, tables[0])


def parts(path: str) -> Iterator[Part]:
    """Yields the parts of a file in their order.

    A gzipped file has no inner beginnings. Nor has CSV, whose quoted fields may span lines: of a
    huge table in CSV there should be several files.
    """
    if path.endswith(".parquet"):
        with _parquet(path) as file:
            yield from (Part(path, index, index + 1) for index in range(file.num_row_groups))
    elif path.endswith((".jsonl", ".ndjson", ".tsv")):
        for start in range(0, max(filesystem.size(path), 1), _PART_BYTES):
            yield Part(path, start, start + _PART_BYTES)
    else:
        yield Part(path)


def read(part: Part, wanted: Columns, problems: Problems) -> Iterator[Row]:
    """Yields the rows of a part.

    Raises:
      UserError: for a missing column, naming the columns that there are; for a file that cannot be
        read.
    """
    plain = part.path.removesuffix(".gz")
    if plain.endswith(".parquet"):
        return _parquet_rows(part, wanted)
    if plain.endswith((".jsonl", ".ndjson")):
        return _json_rows(part, wanted, problems)
    return _csv_rows(part, wanted, problems)


def _require(path: str, wanted: Columns, present: Sequence[str]) -> None:
    for name in wanted.named():
        if name not in present:
            near = difflib.get_close_matches(name, present, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise UserError(
                f"{path}: there is no column {name!r} among {', '.join(map(repr, present))}{hint};"
                " name the columns with config.dataset.columns"
            )


def _lines(part: Part, problems: Problems) -> Iterator[tuple[int, str]]:
    if part.start is None:
        return text_rows.read_lines(part.path, problems)
    return text_rows.read_part(part.path, part.start, part.end, problems)


def _where(part: Part, number: int) -> str:
    return f"{part.path}, {'line' if part.start is None else 'byte'} {number}"


def _csv_rows(part: Part, wanted: Columns, problems: Problems) -> Iterator[Row]:
    # A tab-separated caption may start with a quotation mark that nothing closes.
    tabs = part.path.removesuffix(".gz").endswith(".tsv")
    delimiter, max_lines = ("\t", 1) if tabs else (",", text_rows.MAX_LINES_PER_ROW)
    # The header stands in the first part; the others look there too.
    first = next(
        text_rows.csv_rows(text_rows.read_lines(part.path, Problems()), delimiter, max_lines), None
    )
    if first is None:
        return
    _, text, fields = first
    header = [name.strip() for name in fields or text.split(delimiter)]
    _require(part.path, wanted, header)
    read = text_rows.csv_rows(_lines(part, problems), delimiter, max_lines)
    if not part.start:
        next(read)
    # Unquoted commas can only be told from delimiters in the last column.
    open_ended = header[-1] == wanted.caption
    for number, text, fields in read:
        if open_ended:
            fields = text_rows.last_takes_rest(text, fields, len(header), delimiter)
        if fields and len(fields) == len(header):
            yield _where(part, number), dict(zip(header, fields, strict=True))
        else:
            problems.add("malformed rows", _where(part, number))


def _json_rows(part: Part, wanted: Columns, problems: Problems) -> Iterator[Row]:
    objects = text_rows.json_objects(
        _lines(part, problems), lambda number: _where(part, number), problems
    )
    for index, (number, row) in enumerate(objects):
        if index == 0 and not part.start:
            _require(part.path, wanted, list(row))
        yield _where(part, number), row


def _parquet_rows(part: Part, wanted: Columns) -> Iterator[Row]:
    with _parquet(part.path) as file:
        _require(part.path, wanted, file.schema_arrow.names)
        groups = range(file.num_row_groups)
        before = sum(file.metadata.row_group(i).num_rows for i in groups[: part.start or 0])
        batches = file.iter_batches(
            batch_size=4096, row_groups=list(groups[part.start : part.end]), columns=wanted.named()
        )
        for batch in batches:
            for number, row in enumerate(batch.to_pylist(), start=before + 1):
                yield f"{part.path}, row {number}", row
            before += len(batch)


@contextlib.contextmanager
def _parquet(path: str) -> Iterator[Any]:
    """Opens a Parquet file; what goes wrong while it is open is a UserError."""
    import pyarrow
    from pyarrow import parquet

    try:
        with filesystem.open_bytes(path) as handle, parquet.ParquetFile(handle) as file:
            yield file
    except UserError:
        raise
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: not a readable Parquet file ({reason})") from error
