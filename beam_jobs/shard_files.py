"""Files of a records folder while it is being made: shards, their reports, and progress.

A shard is written under a temporary name and renamed when complete; its report (a JSON file in
`shards/`) comes after it. So a shard counts as finished when its report is there, fits the present
settings, and names the very size of the shard file. All access goes through Beam's filesystems.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterable

import tensorflow as tf
from apache_beam.io.filesystems import FileSystems

from imcap import filesystem, records

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


def make_folders(folder: str) -> None:
    """Makes a records folder and the folders in it."""
    for path in (folder, FileSystems.join(folder, "shards"), FileSystems.join(folder, "progress")):
        if not FileSystems.exists(path):
            FileSystems.mkdirs(path)


def clean(folder: str) -> None:
    """Removes what a killed run left behind: temporary files and progress."""
    _delete(
        _find(folder, *(f"{part}{filesystem.TEMPORARY}*" for part in ("", "shards/")), "progress/*")
    )


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
    values = filesystem.read_json(report_path(folder, split, shard))
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
    with filesystem.replacing(path) as temporary:
        report.digest = _write_records(temporary, serialized, path, compression)
        report.bytes = os.path.getsize(temporary)
    report_file = report_path(folder, report.split, report.shard)
    filesystem.write_json(report_file, dataclasses.asdict(report), sort_keys=True)
    return report


def _write_records(temporary: str, serialized: Iterable[bytes], path: str, compression: str) -> str:
    digest = records.Digest()
    with filesystem.write_errors(path):
        writer = tf.io.TFRecordWriter(temporary, compression)
    try:
        for record in serialized:
            with filesystem.write_errors(path):
                writer.write(record)
            digest.update(record)
    finally:
        with filesystem.write_errors(path):
            writer.close()
    return digest.hexdigest()


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
            filesystem.write_json(self._path, counts, durable=False)
        return is_due


def total_progress(folder: str) -> dict[str, int]:
    """Sums the heartbeats of all shards: images done, failed, skipped, and in all (`total`)."""
    pattern = FileSystems.join(folder, "progress", "*.json")
    sums = {"done": 0, "failed": 0, "skipped": 0, "total": 0}
    for metadata in FileSystems.match([pattern])[0].metadata_list:
        for key, count in (filesystem.read_json(metadata.path) or {}).items():
            sums[key] += count
    return sums
