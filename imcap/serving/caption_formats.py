"""Captions of many images as JSON lines, as CSV, and as a text file beside each image."""

from __future__ import annotations

import csv
import io
import os

from imcap import filesystem
from imcap.errors import UserError
from imcap.serving import caption_files
from imcap.serving.caption_files import Result

FORMATS = (".jsonl", ".csv")


def format_of(path: str) -> str:
    """Returns which of FORMATS a file's name asks for; raises UserError if none."""
    found = os.path.splitext(path)[1].lower()
    if found not in FORMATS:
        raise UserError(f"--out={path}: the name must end in {' or '.join(FORMATS)}")
    return found


def header(form: str, top: int) -> str:
    """Returns what a file begins with: of CSV its columns, of JSON lines nothing.

    Args:
      form: one of FORMATS.
      top: captions per image.
    """
    if form != ".csv":
        return ""
    more = [f"{name}_{k}" for k in range(2, top + 1) for name in ("caption", "score")]
    return _csv_line(["path", "caption", "score", *more])


def line(form: str, result: Result) -> str:
    """Returns an image's line with its end; `result` has no error."""
    if form != ".csv":
        return caption_files.json_line(result) + "\n"
    found = [value for one in result.alternatives for value in (one.caption, one.score)]
    return _csv_line([result.path, *found])


def _csv_line(values: list) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()


def sidecar_path(path: str) -> str:
    """Returns the text file beside an image: `a/b.txt` of `a/b.jpg`."""
    return os.path.splitext(path)[0] + ".txt"


def write_sidecar(path: str, result: Result, *, overwrite: bool) -> str:
    """Writes an image's captions, a line each, beside it.

    Args:
      path: of the image; local or remote.
      result: its captions.
      overwrite: replace a file that says something else.

    Returns:
      Why it was not written, in one line; empty if it is there now.
    """
    target = sidecar_path(path)
    content = "".join(f"{one.caption}\n" for one in result.alternatives)
    try:
        if filesystem.is_file(target):
            if filesystem.read_bytes(target) == content.encode():
                return ""
            if not overwrite:
                return "its .txt file says something else already: --overwrite replaces it"
        filesystem.write_text(target, content, durable=False)
    except (UserError, OSError) as error:
        return str(error)
    return ""
