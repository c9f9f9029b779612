"""How far a job is, summed up over its shards."""

from __future__ import annotations

import os
import time

from beam_jobs import heartbeats, records_folder


def test_progress_is_the_sum_over_shards_as_last_written(tmp_path):
    folder = str(tmp_path)
    records_folder.make_folders(folder)
    heartbeats.write_totals(folder, {"train": 7}, missing=2)
    first, second = (heartbeats.Heartbeat(folder, "train", shard) for shard in (0, 1))
    first.beat(done=1)
    first.beat(done=2)  # Less than a second later: not written.
    assert heartbeats.total_progress(folder)["done"] == 1 + 2  # Missing images are done.
    first.beat(done=4, failed=1, last=True)
    second.beat(reused=5, last=True)
    expected = {"done": 4 + 2, "failed": 1 + 2, "reused": 5, "total": 9}
    assert heartbeats.total_progress(folder) == expected


def test_a_file_is_read_again_only_when_it_has_changed(tmp_path):
    folder = str(tmp_path)
    records_folder.make_folders(folder)
    heartbeats.Heartbeat(folder, "train", 0).beat(done=3, last=True)
    file = tmp_path / "progress" / "train-00000.json"
    reader = heartbeats.ProgressReader(folder)
    assert reader.read()["done"] == 3
    file.write_text(file.read_text().replace("3", "4"))  # It is of this moment: not kept.
    assert reader.read()["done"] == 4
    hour_ago = time.time() - 3600
    os.utime(file, (hour_ago, hour_ago))
    assert reader.read()["done"] == 4
    file.write_text(file.read_text().replace("4", "5"))
    os.utime(file, (hour_ago, hour_ago))
    assert reader.read()["done"] == 4  # Its size and time are those of what was read.
    os.utime(file, (hour_ago + 2, hour_ago + 2))
    assert reader.read()["done"] == 5
