"""Records jobs that stop in the middle, for as long as a test needs to kill them."""

from __future__ import annotations

import time
from pathlib import Path

import processes
from ml_collections import ConfigDict


def kill_after(config: ConfigDict, shards: int) -> None:
    """Runs a records job until so many shards are finished, and kills it then."""
    process = processes.fork(_build_shards, config, shards)
    folder = Path(config.records.dir, "shards")
    # Not those that are still being written: `tmp-…-train-00000.json`.
    names = [f"{split}-0000{i}.json" for split in ("train", "dev", "test") for i in range(10)]
    while process.is_alive() and sum((folder / name).exists() for name in names) < shards:
        time.sleep(0.01)
    process.kill()
    process.join()


def _build_shards(config: ConfigDict, shards: int) -> None:
    """Builds records; the job waits for ever at the shard after so many."""
    from beam_jobs import build_records
    from beam_jobs.transforms import encode_shards

    write, written = encode_shards.write_shard, []

    def write_some(*arguments):
        if len(written) == shards:
            time.sleep(3_600)
        written.append(arguments[1])
        return write(*arguments)

    encode_shards.write_shard = write_some
    build_records.build_records(config)
