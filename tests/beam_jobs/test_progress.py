"""What a running job tells: images done and in all, failures, and what needed no work."""

from __future__ import annotations

import contextlib
import os
import select
import termios

from beam_jobs import shard_files
from beam_jobs.progress import Progress
from imcap import filesystem


def test_without_a_terminal_a_line_tells_done_and_total(tmp_path, capsys):
    folder = str(tmp_path)
    shard_files.make_folders(folder)
    with Progress(folder, local=True):
        filesystem.write_text(str(tmp_path / "progress" / "all.json"), '{"total": 12}')
        shard_files.Heartbeat(folder, "train", 0).beat(done=6, failed=1, last=True)
        shard_files.Heartbeat(folder, "train", 1).beat(done=3, last=True)
        shard_files.Heartbeat(folder, "dev", 0).beat(skipped=2, last=True)
    last = capsys.readouterr().err.split("\r")[-1]
    assert "90%" in last and "9/10" in last
    assert "failed=1" in last and "skipped=2" in last and "image/s" in last


def test_on_a_terminal_a_bar_follows_the_job(tmp_path):
    folder = str(tmp_path)
    shard_files.make_folders(folder)
    terminal, end = os.openpty()
    termios.tcsetwinsize(end, (24, 100))
    shown = ""
    with (
        open(end, "w") as stderr,
        contextlib.redirect_stderr(stderr),
        Progress(folder, local=True),
    ):
        filesystem.write_text(str(tmp_path / "progress" / "all.json"), '{"total": 4}')
        shard_files.Heartbeat(folder, "train", 0).beat(done=1, last=True)
        while "1/4" not in shown:
            assert select.select([terminal], [], [], 20)[0], shown
            shown += os.read(terminal, 4096).decode()
    os.close(terminal)
