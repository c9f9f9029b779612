"""What a running job shows: images done and in all, failures, and what needed no work."""

from __future__ import annotations

import contextlib
import os
import select
import termios
import threading
import time

import memory_files

from beam_jobs import heartbeats, records_folder
from beam_jobs.progress_bar import ProgressBar


def test_a_log_line_shows_done_and_total(tmp_path, capsys):
    folder = str(tmp_path)
    records_folder.make_folders(folder)
    with ProgressBar(folder, local=True):
        heartbeats.write_totals(folder, {"train": 8, "dev": 4}, missing=0)
        heartbeats.Heartbeat(folder, "train", 0).beat(done=6, failed=1, last=True)
        heartbeats.Heartbeat(folder, "train", 1).beat(done=3, last=True)
        heartbeats.Heartbeat(folder, "dev", 0).beat(reused=2, last=True)
    last = capsys.readouterr().err.split("\r")[-1]
    assert "90%" in last and "9/10" in last
    assert "failed=1" in last and "reused=2" in last and "image/s" in last


def test_on_a_terminal_a_bar_follows_the_job(tmp_path):
    folder = str(tmp_path)
    records_folder.make_folders(folder)
    terminal, end = os.openpty()
    termios.tcsetwinsize(end, (24, 100))
    shown = ""
    with (
        open(end, "w") as stderr,
        contextlib.redirect_stderr(stderr),
        ProgressBar(folder, local=True),
    ):
        heartbeats.write_totals(folder, {"train": 3, "dev": 1}, missing=0)
        heartbeats.Heartbeat(folder, "train", 0).beat(done=1, last=True)
        while "1/4" not in shown:
            assert select.select([terminal], [], [], 20)[0], shown
            shown += os.read(terminal, 4096).decode()
    os.close(terminal)


def test_a_bucket_that_fails_once_does_not_end_the_bar(bucket, monkeypatch, capsys):
    failed = threading.Event()

    def fail(*_: object) -> None:
        failed.set()
        raise OSError("try again")

    with ProgressBar("memory://out/records", local=True):
        with monkeypatch.context() as patch:
            patch.setattr(memory_files.MemoryFileSystem, "_list", fail)
            assert failed.wait(20)
            time.sleep(0.1)  # The bar gets the failure.
        heartbeats.write_totals("memory://out/records", {"train": 3, "dev": 1}, missing=0)
        heartbeats.Heartbeat("memory://out/records", "train", 0).beat(done=1, last=True)
    assert "1/4" in capsys.readouterr().err.split("\r")[-1]


def test_a_missing_dev_split_is_logged_at_once(tmp_path, logged):
    folder = str(tmp_path)
    records_folder.make_folders(folder)
    with ProgressBar(folder, local=True):
        assert logged() == []
        heartbeats.write_totals(folder, {"train": 3, "test": 2}, missing=0)
    (message,) = logged()
    assert message.startswith("no image is in the split dev (test 2, train 3): ")
