"""`imcap` as it is typed: from nothing to a served captioner, and one line for every mistake."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import socket
import time
import urllib.request

import processes
import pytest

CONFIG = f"--config={processes.ROOT / 'configs' / 'shapes.py'}:tiny"
SMALL = (
    "--config.dataset.size=60",
    "--config.encoder.image_size=32",
    "--config.train.epochs=1",
)


def refusal(finished: processes.Finished) -> str:
    """Checks that a command ended as one does that is refused; returns its message."""
    assert finished.status == 2
    assert finished.out == ""
    (line,) = finished.err.splitlines()
    assert line.startswith("imcap: ")
    return line.removeprefix("imcap: ")


CONFIG_FILES = {
    "syntax.py": "def get_config(:\n",
    "name.py": "def get_config():\n    return nonsense\n",
    "import.py": "import nowhere\n",
    "empty.py": "",
    "dict.py": "def get_config():\n    return {'train': 1}\n",
    "key.py": "from imcap import config\ndef get_config():\n    c = config.default()\n"
    "    c.trian.epochs = 1\n    return c\n",
    "type.py": "from imcap import config\ndef get_config():\n    c = config.default()\n"
    "    c.train.epochs = 'many'\n    return c\n",
}


@pytest.fixture(scope="module")
def mistakes(tmp_path_factory):
    """A folder with broken config files, and a file where a folder might be expected."""
    folder = tmp_path_factory.mktemp("mistakes")
    for name, content in CONFIG_FILES.items():
        (folder / name).write_text(content)
    (folder / "file").write_text("")
    return folder


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("fly", "there is no command 'fly': choose records, pretrain, train, eval"),
        ("train {workdir}", "--config=FILE is missing, such as"),
        ("train {config}", "--workdir=FOLDER is missing"),
        ("train {config} {workdir} now", "imcap train takes no 'now'"),
        ("train --config=none.py {workdir}", "--config: .*No such file or directory: 'none.py'"),
        ("train --config={tmp}/syntax.py {workdir}", r"syntax\.py, line 1: invalid syntax"),
        ("train --config={tmp}/name.py {workdir}", r"name\.py, line 2: NameError: .*'nonsense'"),
        ("train --config={tmp}/import.py {workdir}", r"import\.py, line 1: .*named 'nowhere'"),
        ("train --config={tmp}/empty.py {workdir}", "has no attribute 'get_config'"),
        ("train --config={tmp}/dict.py {workdir}", r"must return imcap\.config\.default\(\)"),
        ("train --config={tmp}/key.py {workdir}", r"key\.py, line 4: .*trian; did you mean train"),
        ("train --config={tmp}/type.py {workdir}", r"type\.py, line 4: .*'epochs'.*many"),
        ("train {config}y {workdir}", r"shapes\.py, line \d+: there is no variant 'tinyy'"),
        ("train {config} {workdir} --config.train.batchsize=3", "batchsize; did you mean batch_"),
        ("train {config} {workdir} --config.trian.epochs=3", "trian; did you mean train"),
        ("train {config} {workdir} --config.train.epochs=x", "config.train.epochs=x: .*'x'"),
        ("train {config} {workdir} --config.train.epochs=0", r"train\.epochs=0 must be greater"),
        ("train {config} {workdir} --config.records.dtype=int8", r"dtype='int8' must be one of"),
        ("train {config} {workdir} --distrbute=none", "'distrbute'. Did you mean: distribute"),
        ("train {config} {workdir} --distribute=all", "--distribute=all must be one of auto"),
        ("train {config} {workdir}", "holds no finished records: run `imcap records`"),
        ("train {config} --workdir={tmp}/file", "--workdir=.*file cannot be written: File exists"),
        ("eval {config} --workdir={tmp}/file/run", "file/run cannot be written: Not a directory"),
        ("eval {config} {workdir}", "holds no finished records"),
        ("export {config} {workdir}", "holds no finished records"),
        ("records {config} {workdir}", r"encoder\.weights\.h5: no such file \(`imcap pretrain`"),
        ("records {config} {workdir} --overwrit", "takes --overwrit; did you mean --overwrite"),
        ("records {config} {workdir} photos", "neither imcap records nor Beam takes photos"),
        ("records {config} {workdir} --direct_num_workers=x", "num_workers: invalid int value"),
        ("records {config} {workdir} --runner=Flunk", "--runner=Flunk: Unexpected pipeline runner"),
        ("records {config} {workdir} --config.dataset.name=table", "there is no folder .*shapes"),
        ("pretrain {config} {workdir} --config.encoder.name=VGG16", "custom_cnn, not VGG16"),
        ("caption --model={tmp}/none {tmp}/file", "none: no such folder"),
        ("caption --model={tmp} {tmp}/file", "no exported model in it"),
        ("caption --model={tmp} {tmp}/none.jpg", r"none\.jpg: no such file or folder"),
        ("caption --model={tmp}", "needs at least one file, folder or glob"),
        ("caption photo.jpg", "needs one --model=FOLDER"),
        ("serve --port=0", "needs --model=NAME=FOLDER"),
        ("serve --port=0 --model={tmp}/none", "none must be NAME=FOLDER"),
        ("serve --port=0 --model=name={tmp}/none", "none: no such folder"),
        ("serve --port=many", "--port=many: invalid literal"),
        ("inspect {tmp}/none", "holds no finished records"),
        ("scores {workdir}", "holds no scores: run `imcap eval` first"),
        ("bench", "needs the name of one benchmark"),
        ("bench records --photos={tmp}", "--config=FILE is missing"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_in_one_line(mistakes, tmp_path, arguments, message):
    names = {"tmp": mistakes, "config": CONFIG, "workdir": f"--workdir={tmp_path / 'run'}"}
    command = [argument.format(**names) for argument in arguments.split()]
    if command[0] == "records":
        command.append("--config.dataset.size=6")
    assert re.search(message, refusal(processes.run_fork(*command)))


def test_a_port_in_use_is_named_before_any_model_is_loaded(mistakes):
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        finished = processes.run_fork("serve", f"--model=a={mistakes}", f"--port={port}")
    assert f"--port={port}: Address already in use" in refusal(finished)


def test_a_process_of_its_own_has_no_more_to_say():
    message = refusal(processes.run("records", "--workdr=run"))
    assert message == "neither imcap records nor Beam takes --workdr; did you mean --workdir?"


def test_help_names_every_command_and_flag():
    finished = processes.run_fork("train", "--help")
    assert (finished.status, finished.err) == (0, "")
    for word in ("records", "pretrain", "eval", "caption", "serve", "--workdir", "--top"):
        assert word in finished.out
    assert processes.run_fork() == processes.Finished(2, finished.out, "")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run from nothing to an exported model: each command's end by its name, and the workdir."""
    workdir = tmp_path_factory.mktemp("run")
    flags = (CONFIG, f"--workdir={workdir}", *SMALL)
    ended = {"pretrain": processes.run_fork("pretrain", *flags)}
    ended["records"] = processes.run("records", *flags)
    ended["eval too early"] = processes.run_fork("eval", *flags)
    ended["export too early"] = processes.run_fork("export", *flags)
    for command in ("train", "eval", "export", "scores"):
        split = ["--split=test"] if command == "eval" else []
        ended[command] = processes.run_fork(command, *flags, *split)
    return workdir, ended


@pytest.mark.parametrize("command", ["pretrain", "records", "train", "eval", "export", "scores"])
def test_every_step_ends_well(run, command):
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
def test_without_training_there_is_nothing_to_score_or_export(run, command):
    message = refusal(run[1][f"{command} too early"])
    assert message.endswith("checkpoints holds no checkpoint: run `imcap train`")


def test_an_unknown_split_is_named_with_those_that_there_are(run):
    finished = processes.run_fork("eval", CONFIG, f"--workdir={run[0]}", *SMALL, "--split=tset")
    assert "the records hold no split 'tset', only dev, test, train" in refusal(finished)


def test_other_settings_need_a_word_before_records_are_overwritten(run):
    flags = (CONFIG, f"--workdir={run[0]}", *SMALL, "--config.records.flip=True")
    message = refusal(processes.run_fork("records", *flags))
    assert "records.flip=False, now True: --overwrite starts over" in message


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
    shown = dict(line.split() for line in ended["eval"].out.splitlines() if " " in line)
    assert float(shown["cider"]) == pytest.approx(scores["cider"], abs=1e-4)
    assert ended["eval"].out.splitlines()[-1] == str(folder / "report.html")
    for name in ("predictions.json", "references.json", "report.html"):
        assert (folder / name).exists()
    assert len(json.loads((folder / "predictions.json").read_text())) == 6
    assert str(folder / "report.html") in ended["scores"].out


def test_export_prints_the_model_s_folder(run):
    workdir, ended = run
    assert ended["export"].out.split() == [str(workdir / "export" / "1")]
    assert (workdir / "export" / "1" / "MODEL_CARD.md").exists()


def test_files_folders_and_globs_are_captioned_with_flags_before_and_behind(run, tmp_path):
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
    (tmp_path / "b.jpg").write_text("no photo, whatever the name says")
    shutil.copy(workdir / "shapes/images/test-00001.jpg", tmp_path / "c.jpg")
    finished = processes.run_fork("caption", f"--model={workdir}", tmp_path)
    assert finished.status == 1
    names = [line.split("\t")[0] for line in finished.out.splitlines()]
    assert names == [str(tmp_path / "a.jpg"), str(tmp_path / "c.jpg")]
    (line,) = finished.err.splitlines()
    assert line.startswith(f"{tmp_path / 'b.jpg'}: not a JPEG")


def test_inspect_verifies_the_records(run):
    finished = processes.run_fork("inspect", run[0] / "records")
    assert finished.status == 0 and "60" in finished.out


def test_a_served_model_answers_until_it_is_told_to_stop(run):
    workdir = run[0]
    photo = (workdir / "shapes/images/test-00000.jpg").read_bytes()
    predictions = json.loads((workdir / "eval/test/predictions.json").read_text())
    with processes.start("serve", f"--model=shapes={workdir}", "--port=0") as server:
        line = server.stdout.readline()
        url = re.fullmatch(r"serving .*/export/1 at (http://.*/v1/models/shapes:predict)\n", line)
        instance = {"image_bytes": {"b64": base64.b64encode(photo).decode()}}
        body = json.dumps({"instances": [instance]}).encode()
        with urllib.request.urlopen(url[1], body, timeout=200) as response:
            (answer,) = json.load(response)["predictions"]
        server.send_signal(signal.SIGTERM)
        out, err = server.communicate(timeout=200)
    assert (server.returncode, out, err) == (0, "", "")
    (expected,) = (row for row in predictions if row["image_id"] == "test-00000.jpg")
    assert answer["caption"] == expected["caption"]
    assert answer["score"] == pytest.approx(expected["score"], abs=1e-3)


def test_an_interrupted_job_says_how_to_go_on(run, tmp_path):
    out, err = tmp_path / "out", tmp_path / "err"
    flags = (CONFIG, f"--workdir={run[0]}", *SMALL, f"--config.records.dir={tmp_path / 'records'}")
    process = processes.fork(processes.main, ["records", *flags], str(out), str(err))
    while process.is_alive() and not (tmp_path / "records" / "shards" / "settings.json").exists():
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGINT)
    process.join()
    assert process.exitcode == 130
    assert "Traceback" not in err.read_text()
    last = err.read_text().splitlines()[-1]
    assert last == "imcap: interrupted; the same command continues"


@pytest.mark.parametrize("name", ["coco", "flickr30k", "flickr8k", "shapes"])
def test_every_config_loads_from_any_folder(tmp_path, name):
    finished = processes.run(
        "records",
        f"--config={processes.ROOT / 'configs' / name}.py",
        f"--workdir={tmp_path}",
        "--config.dataset.name=coco",
        "--config.dataset.dir=/nowhere",
    )
    assert finished.status == 2
    assert finished.err.splitlines()[-1] == "imcap: config.dataset.dir: there is no folder /nowhere"
