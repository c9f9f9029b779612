"""`imcap caption`: what it prints, and its exit status."""

from __future__ import annotations

import json
import os
import shutil

import processes
import pytest


def test_captions_go_to_stdout(version_dir, images):
    ended = processes.run_fork("caption", f"--model={version_dir}", images / "a.png")
    assert (ended.status, ended.out, ended.err) == (0, f"{images / 'a.png'}\tgrey 10\n", "")


@pytest.mark.parametrize("flag", ["--json", "--nojson"])
def test_a_file_that_fails_goes_to_stderr_and_the_exit_status_is_1(version_dir, images, flag):
    paths = (images / "notes.txt", images / "a.png")
    ended = processes.run_fork("caption", f"--model={version_dir}", flag, *paths)
    assert ended.status == 1
    (line,) = ended.out.splitlines()
    assert "grey 10" in line
    (error,) = ended.err.splitlines()
    assert error.startswith(f"{images / 'notes.txt'}: Unknown image file format")


def test_json_lines_have_ranks(version_dir, images):
    ended = processes.run_fork("caption", f"--model={version_dir}", "--json", "--top=2", images)
    rows = [json.loads(line) for line in ended.out.splitlines()]
    assert [row["caption"] for row in rows] == ["grey 10", "grey 20", "grey 30"]
    for row in rows:
        ranks = [alternative["rank"] for alternative in row["alternatives"]]
        assert ranks == sorted(ranks, reverse=True)


def test_a_file_name_that_is_not_utf_8_is_escaped(version_dir, images):
    path = os.fsdecode(os.fsencode(images) + b"/\xff.png")
    shutil.copy(images / "a.png", path)
    ended = processes.run_fork("caption", f"--model={version_dir}", path)
    assert (ended.status, ended.out) == (0, f"{images}/\\udcff.png\tgrey 10\n")
