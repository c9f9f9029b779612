"""How far a job is, as small files in a records folder: the same for every runner."""

from __future__ import annotations

import time
from collections.abc import Mapping

from apache_beam.io.filesystems import FileSystems

from imcap import filesystem

_SECONDS = 1.0  # Between two heartbeats of a shard.
_TOTALS = "totals.json"


class Heartbeat:
    """Tells the launcher, at most every second, how far a shard is."""

    def __init__(self, folder: str, split: str, shard: int) -> None:
        self._path = FileSystems.join(folder, "progress", f"{split}-{shard:05d}.json")
        self._next = 0.0

    def beat(self, *, done: int = 0, failed: int = 0, reused: int = 0, last: bool = False) -> bool:
        """Writes the counts, unless less than a second has passed since the last time.

        Args:
          done: images that this job has encoded or could not read.
          failed: those of them that it could not read.
          reused: images of a shard that an earlier job has finished.
          last: no heartbeat of the shard follows, so this one is written in any case.

        Returns:
          Whether they were written.
        """
        is_due = last or time.monotonic() >= self._next
        if is_due:
            self._next = time.monotonic() + _SECONDS
            counts = {"done": done, "failed": failed, "reused": reused}
            filesystem.write_json(self._path, counts, durable=False)
        return is_due


def write_totals(folder: str, splits: Mapping[str, int], missing: int) -> None:
    """Writes how many images there are: by split, and those whose files are missing."""
    total = sum(splits.values()) + missing
    counts = {"total": total, "done": missing, "failed": missing, "splits": dict(splits)}
    filesystem.write_json(_totals_path(folder), counts, durable=False)


def read_splits(folder: str) -> dict[str, int] | None:
    """Returns the images by split; None before the manifest has been read."""
    return (filesystem.read_json(_totals_path(folder)) or {}).get("splits")


def total_progress(folder: str) -> dict[str, int]:
    """Sums the heartbeats of all shards: images done, failed, reused, and in all (`total`)."""
    pattern = FileSystems.join(folder, "progress", "*.json")
    sums = {"done": 0, "failed": 0, "reused": 0, "total": 0}
    for metadata in FileSystems.match([pattern])[0].metadata_list:
        counts = filesystem.read_json(metadata.path) or {}
        for key in sums:
            sums[key] += counts.get(key, 0)
    return sums


def _totals_path(folder: str) -> str:
    return FileSystems.join(folder, "progress", _TOTALS)
