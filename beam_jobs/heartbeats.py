"""How far a job is, as small files in a records folder: the same for every runner."""

from __future__ import annotations

import time
from collections.abc import Mapping

from apache_beam.io.filesystem import FileMetadata
from apache_beam.io.filesystems import FileSystems

from imcap import filesystem

# Between two heartbeats of a shard; a bucket charges for each.
_SECONDS, _REMOTE_SECONDS = 1.0, 30.0
_SETTLED_SECONDS = 5.0  # After which a file's time tells whether it has changed.
_TOTALS = "totals.json"


class Heartbeat:
    """Tells the launcher how far a shard is: every second, every 30 seconds in a bucket."""

    def __init__(self, folder: str, split: str, shard: int) -> None:
        self._path = FileSystems.join(folder, "progress", f"{split}-{shard:05d}.json")
        self._seconds = _REMOTE_SECONDS if filesystem.is_remote(folder) else _SECONDS
        self._next = 0.0

    def beat(self, *, done: int = 0, failed: int = 0, reused: int = 0, last: bool = False) -> bool:
        """Writes the counts, unless the last time was too short ago.

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
            self._next = time.monotonic() + self._seconds
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


class ProgressReader:
    """Sums the heartbeats of all shards; what has not changed is not read again."""

    def __init__(self, folder: str) -> None:
        self._pattern = FileSystems.join(folder, "progress", "*.json")
        self._settled: dict[str, tuple[tuple[int, float], dict[str, int]]] = {}

    def read(self) -> dict[str, int]:
        """Returns the images done, failed, reused, and in all (`total`)."""
        sums = {"done": 0, "failed": 0, "reused": 0, "total": 0}
        for metadata in FileSystems.match([self._pattern])[0].metadata_list:
            counts = self._counts(metadata)
            for key in sums:
                sums[key] += counts.get(key, 0)
        return sums

    def _counts(self, metadata: FileMetadata) -> dict[str, int]:
        written = metadata.last_updated_in_seconds or time.time()
        state = metadata.size_in_bytes, written
        known, counts = self._settled.get(metadata.path, (None, {}))
        if known == state:
            return counts
        counts = filesystem.read_json(metadata.path) or {}
        # A file of this moment may change once more without a later time.
        if time.time() - written > _SETTLED_SECONDS:
            self._settled[metadata.path] = state, counts
        return counts


def total_progress(folder: str) -> dict[str, int]:
    """Returns the sums of all shards, as `ProgressReader.read`."""
    return ProgressReader(folder).read()


def _totals_path(folder: str) -> str:
    return FileSystems.join(folder, "progress", _TOTALS)
