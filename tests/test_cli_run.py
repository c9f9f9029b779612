"""A run as it is typed: every command from nothing to a served captioner."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import time
import urllib.request
from pathlib import Path

import processes
import pytest
from refusals import command_refusal
from tiny_runs import CONFIG, SMALL


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run from nothing to an exported model: each command's end by its name, and the workdir."""
    workdir = tmp_path_factory.mktemp("run")
    flags = (CONFIG, f"--workdir={workdir}", *SMALL)
    ended = {"pretrain": processes.run_fork("pretrain", *flags)}
    ended["records"] = processes.run("records", *flags)
    ended["eval too early"] = processes.run_fork("eval", *flags)
    ended["export too early"] = processes.run_fork("export", *flags)
    ended["train"] = processes.run_fork("train", *flags)
    # From here on the run's own config.json says the rest.
    ended["eval"] = processes.run_fork("eval", f"--workdir={workdir}", "--split=test")
    for command in ("export", "scores"):
        ended[command] = processes.run_fork(command, f"--workdir={workdir}")
    return workdir, ended


@pytest.mark.parametrize("command", ["pretrain", "records", "train", "eval", "export", "scores"])
def test_every_command_succeeds(run, command):
    finished = run[1][command]
    assert finished.status == 0, finished.err
    assert "Traceback" not in finished.err and "Warning" not in finished.err


def test_records_shows_nothing_but_its_progress_and_a_summary(run):
    workdir, ended = run
    shown = re.split(r"[\r\n]+", ended["records"].err.strip())
    assert all(line.startswith("records: ") for line in shown), shown
    assert "60/60" in shown[-1]
    (line,) = ended["records"].out.splitlines()
    assert line.startswith(f"{workdir}/records: 60 images (dev 6, test 6, train 48), 0 failed")
    assert (workdir / "records" / "COMPLETED").exists()


@pytest.mark.parametrize("command", ["eval", "export"])
def test_eval_and_export_need_a_checkpoint(run, command):
    message = command_refusal(run[1][f"{command} too early"])
    assert message.endswith("checkpoints holds no checkpoint: run `imcap train`")


def test_an_unknown_split_is_refused_with_the_known_ones(run):
    finished = processes.run_fork("eval", CONFIG, f"--workdir={run[0]}", *SMALL, "--split=tset")
    assert "the records hold no split 'tset', only dev, test, train" in command_refusal(finished)


@pytest.mark.parametrize(
    ("command", "flag", "message"),
    [
        ("records", "records.flip=True", "records.flip=False, now True"),
        ("records", "text.min_count=3", "text.min_count=1, now 3"),
        ("pretrain", "encoder.width=8", "encoder.width=4, now 8"),
        ("train", "text.min_count=3", "text.min_count=1, now 3"),
        ("train", "encoder.width=8", "encoder.width=4, now 8"),
        ("train", "model.units=8", "model.units=16, now 8"),
        ("train", "train.epochs=9", "train.epochs=1, now 9"),
        ("eval", "model.units=8", "model.units=16, now 8"),
        ("export", "model.decoder=inject", "model.decoder='attention', now 'inject'"),
    ],
)
def test_a_trained_run_refuses_other_settings(run, command, flag, message):
    workdir = run[0]
    before = (workdir / "config.json").read_bytes()
    found = command_refusal(processes.run_fork(command, f"--workdir={workdir}", f"--config.{flag}"))
    assert f"{workdir}/checkpoints was trained with {message}: choose another" in found
    assert (workdir / "config.json").read_bytes() == before


def test_another_config_is_refused_by_a_trained_run(run):
    flags = ("--config=shapes", f"--workdir={run[0]}", "--config.encoder.image_size=32")
    message = command_refusal(processes.run_fork("train", *flags))
    assert "was trained with dataset.ratios=(0.8, 0.1, 0.1), now (0.9, 0.05, 0.05)" in message


@pytest.mark.parametrize("command", ["train", "eval", "export"])
def test_another_image_size_is_refused(run, command):
    flags = (f"--workdir={run[0]}", "--config.encoder.image_size=64")
    message = command_refusal(processes.run_fork(command, *flags))
    assert "image_size" in message and "64" in message and "32" in message


def test_a_trained_run_takes_other_settings_of_the_search(run):
    workdir = run[0]
    before = (workdir / "config.json").read_bytes()
    finished = processes.run_fork(
        "eval", f"--workdir={workdir}", "--config.decode.beam_size=1", "--split=dev"
    )
    assert finished.status == 0, finished.err
    scores = json.loads((workdir / "eval" / "dev" / "metrics.json").read_text())
    assert scores["beam_size"] == 1
    assert (workdir / "config.json").read_bytes() == before


def test_training_leaves_checkpoints_logs_and_a_history(run):
    workdir = run[0]
    for name in ("config.json", "checkpoints", "logs", "history.csv", "history.png"):
        assert (workdir / name).exists()
    assert len((workdir / "history.csv").read_text().splitlines()) == 2  # A header, one epoch.


def test_eval_prints_what_it_writes(run):
    workdir, ended = run
    folder = workdir / "eval" / "test"
    scores = json.loads((folder / "metrics.json").read_text())
    assert (scores["split"], scores["images"]) == ("test", 6)
    shown = {line.split()[0]: line.split() for line in ended["eval"].out.splitlines()}
    _, figure, *interval = shown["cider"]
    assert float(figure) == pytest.approx(scores["cider"], abs=1e-4)
    low, high = scores["intervals_95"]["cider"]
    assert interval == ["95", "%:", f"{low:.4f}", "to", f"{high:.4f}"]
    assert ended["eval"].out.splitlines()[-1] == str(folder / "report.html")
    for name in ("predictions.json", "references.json", "report.html"):
        assert (folder / name).exists()
    assert len(json.loads((folder / "predictions.json").read_text())) == 6
    assert str(folder / "report.html") in ended["scores"].out


def test_export_prints_the_model_s_folder(run):
    workdir, ended = run
    assert ended["export"].out.split() == [str(workdir / "export" / "1")]
    assert (workdir / "export" / "1" / "MODEL_CARD.md").exists()


def test_files_folders_and_globs_are_captioned_with_flags_before_and_after(run, tmp_path):
    workdir = run[0]
    for index in (0, 1):
        shutil.copy(workdir / "shapes/images" / f"test-0000{index}.jpg", tmp_path)
    paths = [str(tmp_path / f"test-0000{index}.jpg") for index in (0, 1)]
    arguments = (paths[0], tmp_path, tmp_path / "*.jpg", "--top=2", "--json")
    finished = processes.run("caption", f"--model={workdir}", *arguments)
    assert (finished.status, finished.err) == (0, "")
    rows = [json.loads(line) for line in finished.out.splitlines()]
    assert [row["path"] for row in rows] == paths
    for row in rows:
        assert len(row["alternatives"]) == 2
        best = row["alternatives"][0]
        assert (best["caption"], best["score"]) == (row["caption"], row["score"])
        assert row["caption"] and row["score"] < 0


def test_the_model_gives_the_captions_that_eval_gave(run):
    workdir = run[0]
    predictions = json.loads((workdir / "eval/test/predictions.json").read_text())
    finished = processes.run_fork(
        "caption", workdir / "shapes/images/test-*.jpg", f"--model={workdir / 'export'}"
    )
    told = dict(line.split("\t") for line in finished.out.splitlines())
    expected = {
        str(workdir / "shapes/images" / row["image_id"]): row["caption"] for row in predictions
    }
    assert told == expected


def test_a_bad_image_is_named_and_the_good_ones_are_captioned(run, tmp_path):
    workdir = run[0]
    shutil.copy(workdir / "shapes/images/test-00000.jpg", tmp_path / "a.jpg")
    (tmp_path / "b.jpg").write_text("not an image, whatever its name says")
    shutil.copy(workdir / "shapes/images/test-00001.jpg", tmp_path / "c.jpg")
    finished = processes.run_fork("caption", f"--model={workdir}", tmp_path)
    assert finished.status == 1
    names = [line.split("\t")[0] for line in finished.out.splitlines()]
    assert names == [str(tmp_path / "a.jpg"), str(tmp_path / "c.jpg")]
    (line,) = finished.err.splitlines()
    assert line.startswith(f"{tmp_path / 'b.jpg'}: not a JPEG")


@pytest.mark.parametrize("folder", ["", "records"])
def test_inspect_finds_and_verifies_the_records(run, folder):
    finished = processes.run_fork("inspect", run[0] / folder)
    assert finished.status == 0 and "60" in finished.out


def first_line(path: Path, process) -> str:
    """Returns the first line of a file that a process writes, once it is there."""
    while not path.exists() or not path.read_text().endswith("\n"):
        assert process.is_alive()
        time.sleep(0.01)
    return path.read_text()


def test_a_served_model_answers_until_sigterm(run, tmp_path):
    workdir = run[0]
    image = (workdir / "shapes/images/test-00000.jpg").read_bytes()
    predictions = json.loads((workdir / "eval/test/predictions.json").read_text())
    out, err = tmp_path / "out", tmp_path / "err"
    flags = ["serve", f"--model={workdir}", "--port=0"]
    server = processes.fork(processes.run_command_in_fork, flags, str(out), str(err))
    try:
        line = first_line(out, server)
        url = re.fullmatch(
            rf"serving .*/export/1 at (http://.*/v1/models/{workdir.name}:predict)\n", line
        )
        instance = {"image_bytes": {"b64": base64.b64encode(image).decode()}}
        body = json.dumps({"instances": [instance]}).encode()
        with urllib.request.urlopen(url[1], body, timeout=200) as response:
            (answer,) = json.load(response)["predictions"]
        server.terminate()
        server.join(200)
    finally:
        server.kill()
    assert (server.exitcode, out.read_text(), err.read_text()) == (0, line, "")
    (expected,) = (row for row in predictions if row["image_id"] == "test-00000.jpg")
    assert answer["caption"] == expected["caption"]
    assert answer["score"] == pytest.approx(expected["score"], abs=1e-3)


def test_an_interrupted_job_says_how_to_continue(run, tmp_path):
    out, err = tmp_path / "out", tmp_path / "err"
    flags = (CONFIG, f"--workdir={run[0]}", *SMALL, f"--config.records.dir={tmp_path / 'records'}")
    process = processes.fork(processes.run_command_in_fork, ["records", *flags], str(out), str(err))
    while process.is_alive() and not (tmp_path / "records" / "shards" / "settings.json").exists():
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGINT)
    process.join()
    assert process.exitcode == 130
    assert "Traceback" not in err.read_text()
    last = err.read_text().splitlines()[-1]
    assert last == "imcap: interrupted; the same command continues"
