"""A shard is on the disk before its report says that it is finished."""

from __future__ import annotations

import os

import pytest

from beam_jobs import records_folder, shard_reports
from beam_jobs.shard_reports import Report

SHARD = "train-00000-of-00001.tfrecord"
REPORT = "train-00000.json"


@pytest.fixture
def calls(monkeypatch) -> list[tuple[str, str]]:
    """Every fsync and rename, in order, with the name of the file or folder."""
    found = []
    fsync, replace = os.fsync, os.replace

    def traced_fsync(descriptor: int) -> None:
        found.append(("fsync", os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}"))))
        fsync(descriptor)

    def traced_replace(source: str, target: str) -> None:
        found.append(("rename", os.path.basename(target)))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", traced_fsync)
    monkeypatch.setattr(os, "replace", traced_replace)
    return found


def write(folder) -> Report:
    records_folder.make_folders(str(folder))
    report = Report("train", 0, rows="r", encoder="e", text="t")
    return shard_reports.write_shard(str(folder), report, 1, [b"one", b"two"])


def test_file_and_folder_are_synced_before_the_report_says_finished(tmp_path, calls):
    write(tmp_path / "records")
    # The name of a temporary file ends with that of the file.
    order = [(call, name if name in ("records", "shards") else name[-12:]) for call, name in calls]
    assert order == [
        ("fsync", SHARD[-12:]),
        ("rename", SHARD[-12:]),
        ("fsync", "records"),
        ("fsync", REPORT[-12:]),
        ("rename", REPORT[-12:]),
        ("fsync", "shards"),
    ]


def test_a_report_of_the_whole_file_is_read(tmp_path):
    report = write(tmp_path)
    assert shard_reports.read_report(str(tmp_path), "train", 0, 1) == report
    assert report.bytes == (tmp_path / SHARD).stat().st_size


def test_a_report_of_a_missing_or_shorter_file_is_none(tmp_path):
    write(tmp_path)
    os.truncate(tmp_path / SHARD, 10)
    assert shard_reports.read_report(str(tmp_path), "train", 0, 1) is None
    (tmp_path / SHARD).unlink()
    assert shard_reports.read_report(str(tmp_path), "train", 0, 1) is None
