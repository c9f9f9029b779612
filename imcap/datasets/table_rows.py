"""Rows of a table's part: CSV, TSV, JSON Lines or Parquet, text also gzipped."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from imcap import filesystem
from imcap.datasets import text_rows
from imcap.datasets.base import Problems
from imcap.datasets.embedded import parquet
from imcap.datasets.parted import Part
from imcap.errors import UserError, first_line

_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}

# Where a row stands, and its values by column.
Row = tuple[str, dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Columns:
    """The names of the columns that are read; those with an empty name are not."""

    image: str
    caption: str
    id: str
    split: str

    @classmethod
    def from_mapping(cls, columns: Mapping[str, str]) -> Columns:
        """Takes `config.dataset.columns`; raises UserError for a field that does not exist."""
        fields = [field.name for field in dataclasses.fields(cls)]
        unknown = sorted(set(columns) - set(fields))
        if unknown:
            raise UserError(
                f"config.dataset.columns: no such field {unknown[0]!r};"
                f" there are {', '.join(fields)}"
            )
        names = {name: str(columns.get(name) or "") for name in fields}
        defaults = {"image": "image", "caption": "caption"}
        return cls(**{name: value or defaults.get(name, "") for name, value in names.items()})

    def named(self) -> list[str]:
        """Returns the names that are not empty."""
        return [name for name in dataclasses.astuple(self) if name]


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


def require(path: str, wanted: Columns, present: Sequence[str], how: str = "") -> None:
    """Raises UserError unless all wanted columns are among those present."""
    for name in wanted.named():
        if name not in present:
            near = difflib.get_close_matches(name, present, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise UserError(
                f"{path}: there is no column {name!r} among {', '.join(map(repr, present))}{how}"
                f"{hint}; name the columns with config.dataset.columns"
            )


def _lines(part: Part, problems: Problems) -> Iterator[tuple[int, str]]:
    if part.start is None or part.end is None:
        return text_rows.read_lines(part.path, problems)
    return text_rows.read_part(part.path, part.start, part.end, problems)


def _where(part: Part, number: int) -> str:
    return f"{part.path}, {'line' if part.start is None else 'byte'} {number}"


def _csv_rows(part: Part, wanted: Columns, problems: Problems) -> Iterator[Row]:
    header, delimiter, max_lines = _csv_header(part.path, wanted)
    if not header:
        return
    require(part.path, wanted, header, f" (delimited by {_DELIMITERS[delimiter]})")
    if part.start is None or part.end is None:
        read = text_rows.csv_rows(_lines(part, problems), delimiter, max_lines)
    else:
        read = text_rows.csv_part(part.path, part.start, part.end, problems, delimiter, max_lines)
    if not part.start:
        next(read, None)
    # Unquoted delimiters in a caption can be told from others only in the last column.
    open_ended = header[-1] == wanted.caption
    for number, text, fields in read:
        if open_ended:
            fields = text_rows.last_takes_rest(text, fields, len(header), delimiter)
        if fields and len(fields) == len(header):
            yield _where(part, number), dict(zip(header, fields, strict=True))
        else:
            problems.add("malformed rows", _where(part, number))


def _csv_header(path: str, wanted: Columns) -> tuple[list[str], str, int]:
    """Returns the column names, the delimiter, and how many lines a row may span.

    The header is in the first part of a file; readers of the other parts look there, too. The
    delimiter of a .csv is the one with which the header has the wanted columns, else the one that
    gives the most columns.
    """
    # A tab-separated caption may start with a quotation mark that nothing closes.
    is_tsv = path.removesuffix(".gz").endswith(".tsv")
    max_lines = 1 if is_tsv else text_rows.MAX_LINES_PER_ROW
    first = list(itertools.islice(text_rows.read_lines(path, Problems()), max_lines))
    if not first:
        return [], "", max_lines
    headers = {}
    for delimiter in "\t" if is_tsv else _DELIMITERS:
        _, text, fields = next(text_rows.csv_rows(iter(first), delimiter, max_lines))
        names = [name.strip() for name in fields or text.split(delimiter)]
        if set(wanted.named()) <= set(names):
            return names, delimiter, max_lines
        headers[delimiter] = names
    delimiter = max(headers, key=lambda found: len(headers[found]))
    return headers[delimiter], delimiter, max_lines


def _json_rows(part: Part, wanted: Columns, problems: Problems) -> Iterator[Row]:
    objects = text_rows.json_objects(
        _lines(part, problems), lambda number: _where(part, number), problems
    )
    for index, (number, row) in enumerate(objects):
        if index == 0 and not part.start:
            require(part.path, wanted, list(row))
        yield _where(part, number), row


def _parquet_rows(part: Part, wanted: Columns) -> Iterator[Row]:
    with open_parquet(part.path) as file:
        require(part.path, wanted, file.schema_arrow.names)
        groups = range(file.num_row_groups)
        number = sum(file.metadata.row_group(i).num_rows for i in groups[: part.start or 0])
        for group in groups[part.start : part.end]:
            for row in parquet.rows(file, part.path, group, wanted.named(), wanted.image):
                number += 1
                yield f"{part.path}, row {number}", row


@contextlib.contextmanager
def open_parquet(path: str) -> Iterator[Any]:
    """Opens a Parquet file; raises UserError for what goes wrong while it is open."""
    import pyarrow
    from pyarrow.parquet import ParquetFile

    with filesystem.reading_from(path):
        try:
            with filesystem.open_bytes(path) as handle, ParquetFile(handle) as file:
                yield file
        except UserError:
            raise
        except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
            reason = first_line(error)
            raise UserError(f"{path}: not a readable Parquet file ({reason})") from error
