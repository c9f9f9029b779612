"""Text files row by row, and JSON files.

A row that cannot be read is counted and left out; a file that cannot be read raises UserError.
"""

from __future__ import annotations

import codecs
import collections
import csv
import gzip
import itertools
import json
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any

from imcap import filesystem
from imcap.datasets.base import Problems
from imcap.errors import UserError

# A quoted CSV field may span lines; a stray quote must not swallow the rest of the file.
MAX_LINES_PER_ROW = 50
LOOK_BACK = 1 << 16  # Bytes before a part of a CSV file that are first read to find a row's begin.
_UNREADABLE = (OSError, EOFError, zlib.error)


def open_unzipped(path: str) -> IO[bytes] | gzip.GzipFile:
    """Opens a file for reading bytes, through gzip when its name ends in `.gz`.

    Raises:
      UserError: when it cannot be opened.
    """
    try:
        if not path.endswith(".gz"):
            return filesystem.open_bytes(path)
        return gzip.open(filesystem.open_bytes(path) if filesystem.is_remote(path) else path)
    except OSError as error:
        raise _unreadable(path, error) from error


def read_lines(path: str, problems: Problems) -> Iterator[tuple[int, str]]:
    """Yields (line number from 1, text without its line ending) of a UTF-8 file's lines.

    A byte-order mark and blank lines are skipped; lines may end in CRLF. Lines that are not UTF-8
    are counted and left out.

    Raises:
      UserError: when the file cannot be read to its end, or is UTF-16.
    """
    with filesystem.reading_from(path), open_unzipped(path) as handle:
        for number, raw in enumerate(_raw_lines(handle, path), start=1):
            raw = _without_byte_order_mark(raw, path) if number == 1 else raw
            line = _decode(raw, f"{path}, line {number}", problems)
            if line:
                yield number, line


def read_part(path: str, start: int, end: int, problems: Problems) -> Iterator[tuple[int, str]]:
    """Yields (offset in bytes, text) of the lines that begin in [start, end).

    So adjacent parts give each line once. Otherwise as `read_lines`.
    """
    with filesystem.reading_from(path), open_unzipped(path) as handle:
        # A line that began before `start` belongs to the part before.
        handle.seek(max(start - 1, 0))
        offset = start - 1 + len(handle.readline()) if start else 0
        for raw in _raw_lines(handle, path):
            if offset >= end:
                return
            whole = _without_byte_order_mark(raw, path) if offset == 0 else raw
            line = _decode(whole, f"{path}, byte {offset}", problems)
            if line:
                yield offset, line
            offset += len(raw)


def _decode(raw: bytes, where: str, problems: Problems) -> str:
    """Returns a line as text; empty where it is blank or, which is counted, not UTF-8."""
    try:
        line = raw.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        problems.add("lines that are not UTF-8", where)
        return ""
    return line if line.strip() else ""


def csv_rows(
    lines: Iterator[tuple[int, str]], delimiter: str = ",", max_lines: int = MAX_LINES_PER_ROW
) -> Iterator[tuple[int, str, list[str] | None]]:
    """Yields (number, raw text, fields) per CSV row; fields are None where quotes are broken.

    Only wholly quoted fields are unquoted, so quotation marks within a caption stay. Where a quote
    does not close within `max_lines` lines, its first line alone is a row with broken quotes.

    Args:
      lines: numbered, as `read_lines` gives them.
      delimiter: between fields.
      max_lines: that a row may span.
    """
    pending: collections.deque[tuple[int, str]] = collections.deque()
    while True:
        if not pending:
            pending.extend(itertools.islice(lines, 1))
        if not pending:
            return
        number = pending[0][0]
        taken, fields = _whole_row(pending, lines, delimiter, max_lines)
        yield number, "\n".join(pending.popleft()[1] for _ in range(taken)), fields


def csv_part(
    path: str, start: int, end: int, problems: Problems, delimiter: str, max_lines: int
) -> Iterator[tuple[int, str, list[str] | None]]:
    """Yields (offset in bytes, raw text, fields) of the rows that begin in [start, end).

    They are the rows that `csv_rows` finds in the whole file, so adjacent parts give each row once.

    Raises:
      UserError: when the file cannot be read.
    """
    # Lines of the parts before and after are counted there.
    lines = itertools.chain(
        read_part(path, _row_before(path, start, delimiter, max_lines), start, Problems()),
        read_part(path, start, end, problems),
        read_part(path, end, sys.maxsize, Problems()),
    )
    for row in csv_rows(lines, delimiter, max_lines):
        if row[0] >= end:
            return
        if row[0] >= start:
            yield row


def _row_before(path: str, start: int, delimiter: str, max_lines: int) -> int:
    """Returns where a row begins, at `start` or not far before it."""
    back = LOOK_BACK if max_lines > 1 else 0
    while start > back:
        lines = read_part(path, start - back, sys.maxsize, Problems())
        found = _certain_row(lines, start, delimiter, max_lines) if back else start
        if found is not None:
            return found
        back *= 4
    return 0


def _certain_row(
    lines: Iterator[tuple[int, str]], end: int, delimiter: str, max_lines: int
) -> int | None:
    """Returns where a row begins, at most at `end`; None where the lines do not tell.

    Rows have at most `max_lines` lines, so a row begins at one of the first `max_lines` lines.
    Where reading on from each of these comes to one line, a row begins there.
    """
    pending: collections.deque[tuple[int, str]] = collections.deque()
    starts = set(range(max_lines))  # The numbers of lines that may begin a row.
    for number in itertools.count():
        pending.extend(itertools.islice(lines, 0 if pending else 1))
        if not pending or pending[0][0] > end:
            return None
        if starts == {number}:
            return pending[0][0]
        if number in starts:
            starts.remove(number)
            starts.add(number + _whole_row(pending, lines, delimiter, max_lines)[0])
        pending.popleft()
    return None


def last_takes_rest(
    text: str, fields: list[str] | None, columns: int, delimiter: str = ","
) -> list[str]:
    """Returns a row's fields; what follows the last delimiter that is needed is the last field.

    So the last column may hold unquoted delimiters. A row with too few fields is not changed.
    """
    if fields is not None and len(fields) == columns:
        return fields
    return text.split(delimiter, columns - 1)


def read_json(path: str) -> Any:
    """Returns a whole JSON file.

    Raises:
      UserError: when it cannot be read or is not JSON; it names the line where known.
    """
    with filesystem.reading_from(path), open_unzipped(path) as handle:
        raw = b"".join(_raw_lines(handle, path))
    try:
        return json.loads(_without_byte_order_mark(raw, path))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}, line {error.lineno}: not JSON ({error.msg})") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON ({error})") from error


def json_list(path: str, document: Any, key: str) -> list[Any]:
    """Returns the list under `key` of a JSON document.

    Raises:
      UserError: when there is no such list.
    """
    value = document.get(key) if isinstance(document, dict) else None
    if not isinstance(value, list):
        raise UserError(f"{path}: there is no list {key!r} in it; is this the captions file?")
    return value


def json_objects(
    lines: Iterator[tuple[int, str]], where: Callable[[int], str], problems: Problems
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields (number, object) for each numbered line that is a JSON object; counts the others.

    `where` turns a line's number into a problem's place.
    """
    for number, line in lines:
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict):
            yield number, value
        else:
            problems.add("lines that are not JSON objects", where(number))


def clean(value: Any) -> str:
    """Returns a string or an integer as stripped text, anything else as the empty string.

    So is text that UTF-8 cannot encode: JSON may escape lone surrogates.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        return ""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return ""
    return value.strip()


def captions(value: Any, where: str, problems: Problems) -> list[str]:
    """Returns a caption, or a list of them, without empty ones, which are counted."""
    texts = [clean(text) for text in (value if isinstance(value, list) else [value])]
    if not all(texts) or not texts:
        problems.add("empty captions", where)
    return [text for text in texts if text]


_UNCLOSED = object()


def _whole_row(
    pending: collections.deque[tuple[int, str]],
    lines: Iterator[tuple[int, str]],
    delimiter: str,
    max_lines: int,
) -> tuple[int, list[str] | None]:
    """Returns how many of the pending lines are one row, and its fields; reads more if needed."""
    for taken in range(1, max_lines + 1):
        if len(pending) < taken:
            pending.extend(itertools.islice(lines, 1))
        if len(pending) < taken:
            break
        text = "\n".join(line for _, line in itertools.islice(pending, taken))
        fields = _csv_fields(text, delimiter)
        if fields is not _UNCLOSED:
            return (taken, fields) if fields else (1, None)
    return 1, None


def _csv_fields(text: str, delimiter: str) -> Any:
    """Returns the fields, `_UNCLOSED` where a quoted field goes on, None where quotes are wrong."""
    try:
        return next(csv.reader([text], delimiter=delimiter, strict=True))
    except csv.Error as error:
        return _UNCLOSED if "unexpected end" in str(error) else None


def _raw_lines(handle: Iterable[bytes], path: str) -> Iterator[bytes]:
    try:
        yield from handle
    except _UNREADABLE as error:
        raise _unreadable(path, error) from error


def _without_byte_order_mark(raw: bytes, path: str) -> bytes:
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UserError(f"{path}: this is UTF-16; save it as UTF-8")
    return raw.removeprefix(codecs.BOM_UTF8)


def _unreadable(path: str, error: BaseException) -> UserError:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return UserError(f"{path}: cannot be read ({reason})")
