"""The table of a training's epochs."""

from __future__ import annotations

import csv

import pytest
from refusals import refusal

from imcap.errors import UserError
from imcap.training.history import COLUMNS, History


def row(epoch: int, **values: float) -> dict[str, float | int | None]:
    return {"epoch": epoch, "step": 10 * epoch, "loss": 1 / epoch, **values}


def rows_of(path: str) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_file_holds_every_column_of_every_epoch(tmp_path):
    history = History(str(tmp_path))
    history.append(row(1, dev_cider=0.5))
    history.append(row(3))
    found = rows_of(history.path)
    assert [tuple(line) for line in found] == [COLUMNS, COLUMNS]
    assert found[0] | {"epoch": "1", "step": "10", "loss": "1", "dev_cider": "0.5"} == found[0]
    assert found[1] | {"epoch": "3", "step": "30", "loss": "0.333333"} == found[1]
    assert found[1]["dev_cider"] == found[1]["dev_bleu4"] == ""


def test_scores_leave_out_epochs_without_one(tmp_path):
    history = History(str(tmp_path))
    for line in (row(1, dev_cider=0.0), row(2), row(3, dev_cider=0.25)):
        history.append(line)
    assert history.scores("dev_cider") == [0.0, 0.25]
    assert history.scores("dev_bleu4") == []


@pytest.mark.parametrize(("step", "epochs"), [(0, 0), (9, 0), (10, 1), (25, 2), (99, 3)])
def test_a_continued_run_keeps_the_epochs_up_to_its_step(tmp_path, step, epochs):
    history = History(str(tmp_path))
    for epoch in (1, 2, 3):
        history.append(row(epoch, dev_cider=epoch / 10))
    continued = History(str(tmp_path), step)
    assert continued.rows == history.rows[:epochs]
    continued.append(row(7))
    assert rows_of(history.path) == continued.rows


@pytest.mark.parametrize(
    "content",
    ["epoch,loss\n1,0.5\n", "epoch,step\n1,ten\n", "epoch,step,loss\n1,10,a\n", "epoch,step\n1\n",
     "epoch;step\n1;10\n", "epoch,step\n1,10,3\n"],
)  # fmt: skip
def test_a_corrupted_file_is_named(tmp_path, content):
    (tmp_path / "history.csv").write_text(content)
    line = refusal(History, str(tmp_path), 99)
    assert line.startswith(f"{tmp_path}/history.csv is corrupted (")


def test_a_worker_that_is_not_the_chief_keeps_the_same_rows_and_writes_none(tmp_path):
    chief, worker = History(str(tmp_path / "chief")), History(str(tmp_path / "worker"))
    (tmp_path / "chief").mkdir()
    line = row(1, dev_cider=0.123456789)
    chief.append(line)
    worker.append(line, write=False)
    assert worker.rows == chief.rows
    assert not (tmp_path / "worker").exists()


def test_no_half_written_file_is_left(tmp_path):
    History(str(tmp_path)).append(row(1))
    assert [path.name for path in tmp_path.iterdir()] == ["history.csv"]


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    history = History(str(tmp_path / "missing"))
    with pytest.raises(UserError, match=r"missing/history\.csv cannot be written: No such file"):
        history.append(row(1))
