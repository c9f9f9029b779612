"""How far a job is, summed up over its shards."""

from __future__ import annotations

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
