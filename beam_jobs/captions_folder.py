"""The file that captions go to, and the folder beside it with the parts that are finished.

A part is some images in the order of their listing: the unit of work, retry and resume. It is one
file, renamed when complete: a line of JSON, which says what the part was made from and which images
failed, and after it the lines of the output. The output is made of all parts in the end.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import os
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

from apache_beam.io.filesystems import FileSystems

from beam_jobs import records_folder
from imcap import filesystem, records
from imcap.errors import UserError
from imcap.serving import caption_formats

_PARTS, _SETTINGS, _SUMMARY = ".parts", "settings.json", "COMPLETED"
_BLOCK = 1 << 20  # Bytes copied at a time.
_MAX_REASONS = 1_000  # Different ones that are counted: a reason may name a file.
_SHOWN_REASONS = 3

# What determines the output: `caption_images.caption_settings` makes it.
Settings = dict[str, dict[str, Any]]


@dataclasses.dataclass
class Part:
    """What a finished part holds, and what it was made from.

    Attributes:
      number: its place among the parts, from 0.
      rows: fingerprint of the images' paths.
      settings: fingerprint of the model and the output's settings.
      images: captioned, and so lines of output.
      bytes: of these lines.
      failures: per image without a caption `path` and `reason`.
    """

    number: int
    rows: str
    settings: str
    images: int = 0
    bytes: int = 0
    failures: list[dict[str, str]] = dataclasses.field(default_factory=list)


class Summary(NamedTuple):
    """How a job ended.

    Attributes:
      captioned: images with captions in the output.
      failed: images without.
      reasons: of these, with the number of images, the most frequent first.
    """

    captioned: int
    failed: int
    reasons: dict[str, int]


def parts_folder(out: str) -> str:
    """Returns the folder with the finished parts of the file `out`."""
    return out + _PARTS


def failures_path(out: str) -> str:
    """Returns the file that lists the images without captions: `a.failures.jsonl` of `a.csv`."""
    return os.path.splitext(out)[0] + ".failures.jsonl"


def check(out: str, settings: Settings, *, overwrite: bool) -> None:
    """Raises UserError if `out` holds anything but what a job of the same settings has left."""
    if any(character in out for character in "*?["):
        raise UserError(f"--out={out} must not contain the characters * ? [")
    if overwrite:
        return
    before = filesystem.read_json(_path(out, _SETTINGS))
    if not isinstance(before, dict):
        if filesystem.is_file(out):
            raise UserError(f"{out} exists: --overwrite replaces it, another --out=FILE keeps it")
        return
    if difference := records.settings_difference(before, settings):
        part, key, old, new = difference
        name = "another model" if part == "model" else f"{part}.{key}={old!r}, now {new!r}"
        raise UserError(
            f"{out} was begun with {name}: --overwrite starts over, another --out=FILE keeps both"
        )


def prepare(out: str, settings: Settings, *, overwrite: bool) -> None:
    """Makes the parts' folder ready for a job.

    Raises:
      UserError: it cannot be written.
    """
    folder = parts_folder(out)
    leftovers = [f"{filesystem.TEMPORARY}*", "progress/*", _SUMMARY]
    try:
        for path in (folder, FileSystems.join(folder, "progress")):
            if not FileSystems.exists(path):
                FileSystems.mkdirs(path)
        records_folder.remove(folder, *leftovers, *(["part-*"] if overwrite else []))
    except OSError as error:
        raise UserError(f"--out={out}: {folder} cannot be written: {error}") from error
    filesystem.write_json(_path(out, _SETTINGS), settings, sort_keys=True)


def read_part(folder: str, number: int) -> Part | None:
    """Returns what a finished part holds; None if it is not there in full."""
    path = _part_path(folder, number)
    if not filesystem.is_file(path):
        return None
    with filesystem.open_bytes(path) as file:
        start = file.readline()
    try:
        part = Part(**json.loads(start))
    except (ValueError, TypeError):  # Not a part.
        return None
    return part if filesystem.size(path) == len(start) + part.bytes else None


def write_part(folder: str, part: Part, lines: list[str]) -> None:
    """Writes a finished part, synced to the disk; raises UserError if it cannot be written."""
    content = "".join(lines)
    part.bytes = len(content.encode("utf-8", "surrogateescape"))
    start = json.dumps(dataclasses.asdict(part), sort_keys=True)
    filesystem.write_text(_part_path(folder, part.number), f"{start}\n{content}")


def finish(out: str, num_parts: int, form: str, top: int) -> None:
    """Makes the output and the list of failures of all parts, in order.

    Args:
      out: the output's path.
      num_parts: how many there are; further ones, of a longer listing, are removed.
      form: one of `caption_formats.FORMATS`.
      top: captions per image.

    Raises:
      UserError: a file cannot be written.
    """
    _remove_parts_from(out, num_parts)
    failures = failures_path(out)
    captioned, num_failed, reasons = 0, 0, collections.Counter[str]()
    with (
        filesystem.writing_to(out),
        filesystem.replacing(out) as temporary,
        filesystem.replacing(failures) as temporary_failures,
        open(temporary, "wb") as lines,
        open(temporary_failures, "w", encoding="ascii") as failed,
    ):
        lines.write(caption_formats.header(form, top).encode())
        for part in _copy_parts(parts_folder(out), num_parts, lines):
            captioned += part.images
            num_failed += len(part.failures)
            for failure in part.failures:
                failed.write(json.dumps(failure, sort_keys=True) + "\n")
                if failure["reason"] in reasons or len(reasons) < _MAX_REASONS:
                    reasons[failure["reason"]] += 1
    summary = Summary(captioned, num_failed, dict(reasons.most_common(_SHOWN_REASONS)))
    filesystem.write_json(_path(out, _SUMMARY), summary._asdict())


def read_summary(out: str) -> Summary:
    """Returns how the job that made `out` ended."""
    found = filesystem.read_json(_path(out, _SUMMARY))
    assert found is not None  # `finish` wrote it.
    return Summary(**found)


def _copy_parts(folder: str, num_parts: int, target: IO[bytes]) -> Iterator[Part]:
    """Appends the lines of all parts to a file and yields what each part is."""
    for number in range(num_parts):
        path = _part_path(folder, number)
        with filesystem.open_bytes(path) as file:
            part = Part(**json.loads(file.readline()))
            while block := file.read(_BLOCK):
                target.write(block)
        yield part


def _remove_parts_from(out: str, number: int) -> None:
    folder = parts_folder(out)
    names = filesystem.file_names(folder)
    stale = [n for n in names if n.startswith("part-") and int(n[5:].partition(".")[0]) >= number]
    records_folder.remove(folder, *stale)


def _path(out: str, name: str) -> str:
    return FileSystems.join(parts_folder(out), name)


def _part_path(folder: str, number: int) -> str:
    return FileSystems.join(folder, f"part-{number:07d}.txt")
