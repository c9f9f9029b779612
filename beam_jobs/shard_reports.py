"""Shards and their reports: what says that a shard is finished, and what it was made from.

A shard is written under a temporary name and renamed when complete; its report (a JSON file in
`shards/`) is written after it. A shard counts as finished when its report is there, fits the
present settings, and names the size of the shard file. All access goes through Beam's filesystems.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable

import tensorflow as tf
from apache_beam.io.filesystems import FileSystems

from imcap import filesystem, records


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

    def is_same_work(self, other: Report) -> bool:
        """Tells whether two reports are of the same images and encoder."""
        return (self.rows, self.encoder) == (other.rows, other.encoder)


def report_path(folder: str, split: str, shard: int) -> str:
    """Returns where the report of a shard lies."""
    return FileSystems.join(folder, "shards", f"{split}-{shard:05d}.json")


def read_report(folder: str, split: str, shard: int, num_shards: int) -> Report | None:
    """Returns the report of a shard whose file is there in full, else None."""
    values = filesystem.read_json(report_path(folder, split, shard))
    path = FileSystems.join(folder, records.shard_name(split, shard, num_shards))
    if not values or not filesystem.is_file(path):
        return None
    try:
        report = Report(**values)
    except TypeError:  # Not a report.
        return None
    return report if filesystem.size(path) == report.bytes else None


def write_shard(
    folder: str,
    report: Report,
    num_shards: int,
    serialized: Iterable[bytes],
    compression: str = "",
) -> Report:
    """Writes a shard and its report, each synced to the disk before the next step.

    Args:
      folder: the records folder.
      report: gets the shard's bytes and digest.
      num_shards: of the split.
      serialized: the records; iterating may fill in `report`.
      compression: empty or GZIP.

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
    with filesystem.writing_to(path):
        writer = tf.io.TFRecordWriter(temporary, compression)
    try:
        for record in serialized:
            with filesystem.writing_to(path):
                writer.write(record)
            digest.update(record)
    finally:
        with filesystem.writing_to(path):
            writer.close()
    return digest.hexdigest()
