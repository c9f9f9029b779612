"""`imcap caption`: what it prints, and its exit status."""

from __future__ import annotations

import json
import os
import shutil
import types

import landscapes
import processes
import pytest
from refusals import command_refusal, refusal

from imcap import runtime
from imcap.command_line import caption_command, captioners
from imcap.errors import UserError


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


def test_a_job_s_exit_status_says_whether_images_failed(landscape_export, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(3):
        landscapes.draw(number).save(folder / f"{number}.jpg")
    given = ("caption", f"--model={landscape_export}", folder, "--sidecar")
    ended = processes.run_fork(*given)
    out = folder / "captions.jsonl"
    assert (ended.status, ended.out) == (0, f"{out}: 3 images captioned, 0 failed\n")
    assert "3/3" in ended.err and "image/s" in ended.err
    assert [path.name for path in sorted(folder.glob("*.txt"))] == ["0.txt", "1.txt", "2.txt"]
    (folder / "3.jpg").write_bytes(b"")
    ended = processes.run_fork(*given)
    assert ended.status == 1
    assert ended.out.splitlines() == [
        f"{out}: 3 images captioned, 1 failed",
        f"{folder / 'captions.failures.jsonl'}: the failed images with their reasons",
        "1 failed: an empty file",
    ]


def test_a_job_is_not_begun_with_a_mistake(version_dir, images):
    mistakes = {
        (images, images / "a.png", "--sidecar"): "--sidecar of more than one folder needs --out=",
        (images, "--sidecar", "--checkpoint=best"): "--out and --sidecar take one model",
        (images, "--runner=flink"): "--runner=flink is for a job: --out=FILE or --sidecar is mis",
        (
            images,
            "--out=a.csv",
            "--sidecars",
        ): "neither imcap caption nor Beam takes --sidecars",
        (images, "--out=a.txt"): "--out=a.txt: the name must end in .jsonl or .csv",
    }
    for arguments, message in mistakes.items():
        ended = processes.run_fork("caption", f"--model={version_dir}", *arguments)
        assert command_refusal(ended).startswith(message)


def test_a_job_sets_up_its_process_before_a_ready_model_is_exported(monkeypatch):
    calls = []

    def find_exports(*_: object) -> None:
        calls.append("find_exports")
        raise UserError("no model")

    for name in ("share_one_heap", "assume_frozen_weights"):
        monkeypatch.setattr(runtime, name, lambda name=name: calls.append(name))
    monkeypatch.setattr(captioners, "find_exports", find_exports)
    values = types.SimpleNamespace(checkpoint=[], model=[], out="a.jsonl", weights="")
    parsed = types.SimpleNamespace(values=values)
    assert refusal(caption_command.run_job, parsed, ["a.jpg"], []) == "no model"
    assert calls == ["share_one_heap", "assume_frozen_weights", "find_exports"]
