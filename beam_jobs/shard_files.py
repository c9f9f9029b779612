"""Files of a records folder while it is being made: shards, their reports, and progress.

A shard is written under a temporary name and renamed when complete; its report (a JSON file in
`shards/`) comes after it. So a shard counts as finished when its report is there, fits the present
settings, and names the very size of the shard file. All access goes through Beam's filesystems.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator
from typing import Any

import tensorflow as tf
from apache_beam.io.filesystems import FileSystems

from imcap import filesystem, records
from imcap.errors import UserError

SETTINGS = "settings.json"
_SHARDS = "*-?????-of-?????.tfrecord"
_PROGRESS_SECONDS = 1.0
_BLOCK = 1 << 24  # Bytes copied at a time.


@dataclasses.dataclass
class Report:
    """What a finished shard holds, and what it was made from.

    Attributes:
      rows, encoder, text: fingerprints of the manifest rows, of the encoder with its
        preprocessing, and of the vocabulary with its tokenizer settings.
      digest: of all the shard's records in order.
      failures: per failed image `image_id`, `path` and `reason`.
    """

    split: str
    shard: int
    rows: str
    encoder: str
    text: str
    images: int = 0
    captions: int = 0
    bytes: int = 0
    digest: str = ""
    failures: list[dict[str, str]] = dataclasses.field(default_factory=list)


def write_text(path: str, content: str) -> None:
    """Writes a small file whole or not at all; raises UserError if it cannot be written."""
    temporary = f"{path}.{uuid.uuid4().hex}.tmp"
    if filesystem.is_remote(path):
        content = content or "\n"  # Beam cannot write an empty file to s3://.
    with _writing(path):
        with FileSystems.create(temporary, "application/octet-stream") as file:
            file.write(content.encode("utf-8"))
        _replace(temporary, path)


@contextlib.contextmanager
def _writing(path: str) -> Iterator[None]:
    """Names the file in what a failed write raises, as on a full disk."""
    # Each cloud's library has exceptions of its own.
    errors = Exception if filesystem.is_remote(path) else (OSError, tf.errors.OpError)
    try:
        yield
    except UserError:
        raise
    except errors as error:
        reason = getattr(error, "strerror", None) or getattr(error, "message", None) or str(error)
        # TensorFlow puts the temporary file's name in front.
        raise UserError(f"{path} cannot be written: {reason.rpartition('; ')[2]}") from error


def read_json(path: str) -> Any | None:
    """Returns a JSON file's value; None where it is missing or was cut off."""
    if not FileSystems.exists(path):
        return None
    try:
        with FileSystems.open(path) as file:
            return json.loads(file.read())
    except ValueError:
        return None


def _replace(source: str, target: str) -> None:
    if not filesystem.is_remote(target):
        os.replace(source, target)
        return
    if FileSystems.exists(target):
        FileSystems.delete([target])
    FileSystems.rename([source], [target])


def make_folders(folder: str) -> None:
    """Makes a records folder and the folders in it."""
    for path in (folder, FileSystems.join(folder, "shards"), FileSystems.join(folder, "progress")):
        if not FileSystems.exists(path):
            FileSystems.mkdirs(path)


def clean(folder: str) -> None:
    """Removes what a killed run left behind: temporary files and progress."""
    _delete(_find(folder, "*.tmp", "shards/*.tmp", "progress/*.json*"))


def clear(folder: str) -> None:
    """Removes everything that the job ever wrote, and nothing else."""
    summaries = (records.COMPLETED, records.INFO, records.VOCABULARY, records.FAILURES)
    _delete(_find(folder, *summaries, "shards/*.json", _SHARDS))


def drop_stale(folder: str, reports: Iterable[Report], num_shards: int) -> None:
    """Removes shards that have no image any more, as after a change of the splits."""
    names = {records.shard_name(report.split, report.shard, num_shards) for report in reports}
    paths = _find(folder, _SHARDS)
    _delete([path for path in paths if FileSystems.split(path)[1] not in names])


def _find(folder: str, *patterns: str) -> list[str]:
    patterns = [FileSystems.join(folder, *pattern.split("/")) for pattern in patterns]
    found = FileSystems.match(patterns)
    return [metadata.path for result in found for metadata in result.metadata_list]


def _delete(paths: list[str]) -> None:
    if paths:
        FileSystems.delete(paths)


def report_path(folder: str, split: str, shard: int) -> str:
    return FileSystems.join(folder, "shards", f"{split}-{shard:05d}.json")


def count_reports(folder: str) -> int:
    """Returns how many shards have a report."""
    return len(_find(folder, "shards/*-?????.json"))


def read_report(folder: str, split: str, shard: int, num_shards: int) -> Report | None:
    """Returns the report of a shard whose file is there in full, else None."""
    values = read_json(report_path(folder, split, shard))
    path = FileSystems.join(folder, records.shard_name(split, shard, num_shards))
    if not values or not FileSystems.exists(path):
        return None
    size = FileSystems.match([path])[0].metadata_list[0].size_in_bytes
    try:
        report = Report(**values)
    except TypeError:  # Not a report.
        return None
    return report if size == report.bytes else None


def write_shard(
    folder: str,
    report: Report,
    num_shards: int,
    serialized: Iterable[bytes],
    compression: str = "",
) -> Report:
    """Writes a shard and its report from an iterable that may fill in `report` as it goes.

    Raises:
      UserError: one of them cannot be written.
    """
    path = FileSystems.join(folder, records.shard_name(report.split, report.shard, num_shards))
    is_remote = filesystem.is_remote(path)
    temporary = f"{path}.{uuid.uuid4().hex}.tmp"
    local = os.path.join(tempfile.gettempdir(), os.path.basename(temporary))
    local = local if is_remote else temporary
    try:
        report.digest = _write_records(local, serialized, path, compression)
        report.bytes = os.path.getsize(local)
        with _writing(path):
            if is_remote:
                _upload(local, temporary)
            _replace(temporary, path)
    finally:
        if os.path.exists(local):
            os.remove(local)
    content = json.dumps(dataclasses.asdict(report), sort_keys=True)
    write_text(report_path(folder, report.split, report.shard), content)
    return report


def _write_records(temporary: str, serialized: Iterable[bytes], path: str, compression: str) -> str:
    digest = records.Digest()
    with _writing(path):
        writer = tf.io.TFRecordWriter(temporary, compression)
    try:
        for record in serialized:
            with _writing(path):
                writer.write(record)
            digest.update(record)
    finally:
        with _writing(path):
            writer.close()
    return digest.hexdigest()


@contextlib.contextmanager
def local_copy(path: str) -> Iterator[str]:
    """Gives a local path of a file, a copy for a time where it is remote: TensorFlow reads few of
    the filesystems that Beam does."""
    if not filesystem.is_remote(path):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        local = os.path.join(folder, FileSystems.split(path)[1])
        source = FileSystems.open(path, compression_type="uncompressed")
        with source, open(local, "wb") as target:
            shutil.copyfileobj(source, target, _BLOCK)
        yield local


def _upload(local: str, remote: str) -> None:
    with open(local, "rb") as source, FileSystems.create(remote) as target:
        shutil.copyfileobj(source, target, _BLOCK)


class Heartbeat:
    """Tells the launcher, at most every second, how far a shard is."""

    def __init__(self, folder: str, split: str, shard: int) -> None:
        self._path = FileSystems.join(folder, "progress", f"{split}-{shard:05d}.json")
        self._next = 0.0

    def beat(self, *, done: int = 0, failed: int = 0, skipped: int = 0, last: bool = False) -> bool:
        """Writes how many images are done, failed ones included, and how many needed no work.

        Returns:
          Whether it was time to write, or the shard's `last` word.
        """
        is_due = last or time.monotonic() >= self._next
        if is_due:
            self._next = time.monotonic() + _PROGRESS_SECONDS
            counts = {"done": done, "failed": failed, "skipped": skipped}
            write_text(self._path, json.dumps(counts))
        return is_due


def total_progress(folder: str) -> dict[str, int]:
    """Sums the heartbeats of all shards: images done, failed, skipped, and in all (`total`)."""
    pattern = FileSystems.join(folder, "progress", "*.json")
    sums = {"done": 0, "failed": 0, "skipped": 0, "total": 0}
    for metadata in FileSystems.match([pattern])[0].metadata_list:
        for key, count in (read_json(metadata.path) or {}).items():
            sums[key] += count
    return sums
