"""The finished parts of a captioning job: what counts as finished, and the files made of them."""

from __future__ import annotations

import json
import os

import pytest
from refusals import refusal

from beam_jobs import captions_folder
from beam_jobs.captions_folder import Part, Summary

SETTINGS = {"model": {"digest": "1a"}, "decode": {"beam_size": 3}, "output": {"top": 1}}


@pytest.fixture
def out(tmp_path):
    """An output that a job has begun."""
    path = str(tmp_path / "captions.jsonl")
    captions_folder.prepare(path, SETTINGS, overwrite=False)
    return path


def write(out: str, number: int, lines: list[str], *reasons: str) -> Part:
    failures = [{"path": f"{number}-{i}.jpg", "reason": r} for i, r in enumerate(reasons)]
    part = Part(number, "rows", "settings", images=len(lines), failures=failures)
    captions_folder.write_part(captions_folder.parts_folder(out), part, lines)
    return part


def test_a_part_is_read_as_it_was_written(out):
    part = write(out, 3, ["ä\n", "b \udcff\n"], "an empty file")
    folder = captions_folder.parts_folder(out)
    assert captions_folder.read_part(folder, 3) == part
    assert captions_folder.read_part(folder, 2) is None


@pytest.mark.parametrize("size", [0, 10, -1])
def test_a_part_that_was_cut_off_is_not_finished(out, size):
    write(out, 0, ["a\n", "b\n"])
    (path,) = (p for p in os.scandir(captions_folder.parts_folder(out)) if "part" in p.name)
    os.truncate(path, size % os.path.getsize(path))
    assert captions_folder.read_part(captions_folder.parts_folder(out), 0) is None


def test_the_output_is_all_parts_in_order(out):
    for number in (10, 2, 1, 0, 9):
        write(out, number, [f"{number}\n"], "truncated", f"bad {number}")
    for number in range(3, 9):
        write(out, number, [])
    write(out, 11, ["of a longer listing\n"])
    captions_folder.finish(out, 11, ".csv", 1)
    with open(out) as file:
        assert file.read() == "path,caption,score\n0\n1\n2\n9\n10\n"
    with open(captions_folder.failures_path(out)) as file:
        failures = [json.loads(line) for line in file]
    assert [failure["path"] for failure in failures[:3]] == ["0-0.jpg", "0-1.jpg", "1-0.jpg"]
    assert captions_folder.read_part(captions_folder.parts_folder(out), 11) is None
    reasons = {"truncated": 5, "bad 0": 1, "bad 1": 1}
    assert captions_folder.read_summary(out) == Summary(5, 10, reasons)


def test_a_new_job_removes_what_a_killed_one_left(out):
    folder = captions_folder.parts_folder(out)
    write(out, 0, [])
    for name in ("tmp-1-part-0000001.txt", "progress/part-00000.json", "COMPLETED"):
        with open(os.path.join(folder, name), "w"):
            pass
    captions_folder.prepare(out, SETTINGS, overwrite=False)
    assert sorted(os.listdir(folder)) == ["part-0000000.txt", "progress", "settings.json"]
    assert os.listdir(os.path.join(folder, "progress")) == []
    captions_folder.prepare(out, SETTINGS, overwrite=True)
    assert sorted(os.listdir(folder)) == ["progress", "settings.json"]


@pytest.mark.parametrize(
    ("part", "changed", "named"),
    [
        ("model", {"digest": "2b"}, "another model"),
        ("decode", {"beam_size": 5}, "decode.beam_size=3, now 5"),
        ("output", {"top": 2}, "output.top=1, now 2"),
    ],
)
def test_other_settings_are_refused(out, part, changed, named):
    message = refusal(captions_folder.check, out, SETTINGS | {part: changed}, overwrite=False)
    assert message == (
        f"{out} was begun with {named}: --overwrite starts over, another --out=FILE keeps both"
    )
    captions_folder.check(out, SETTINGS, overwrite=False)
    captions_folder.check(out, SETTINGS | {part: changed}, overwrite=True)


def test_a_file_of_another_origin_is_not_replaced(tmp_path):
    (tmp_path / "a.csv").write_text("mine")
    out = str(tmp_path / "a.csv")
    assert refusal(captions_folder.check, out, SETTINGS, overwrite=False) == (
        f"{out} exists: --overwrite replaces it, another --out=FILE keeps it"
    )
    captions_folder.check(out, SETTINGS, overwrite=True)


def test_a_name_that_is_a_pattern_is_refused():
    assert "must not contain" in refusal(captions_folder.check, "a*.csv", {}, overwrite=True)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").touch()
    out = str(tmp_path / "file" / "a.csv")
    assert "cannot be written" in refusal(captions_folder.prepare, out, {}, overwrite=False)
