"""`imcap` as it is typed: from nothing to a served captioner; one line for every mistake."""

from __future__ import annotations

import os
import re
import socket

import evaluation_folders
import processes
import pytest
from refusals import command_refusal
from tiny_runs import CONFIG, SMALL

import imcap
from imcap import cli


@pytest.fixture(scope="module")
def mistakes(tmp_path_factory):
    """A folder with a broken config file, and a file where a folder might be expected."""
    folder = tmp_path_factory.mktemp("mistakes")
    (folder / "syntax.py").write_text("def get_config(:\n")
    (folder / "file").write_text("")
    return folder


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("fly", "there is no command 'fly': choose records, pretrain, train, eval"),
        ("train {workdir}", r"--config=NAME is missing, such as .*run/config\.json: no file\)"),
        ("train {config}", "--workdir=DIR is missing"),
        ("train {config} {workdir} now", "imcap train takes no 'now'"),
        ("train --config=none.py {workdir}", r"--config=none\.py: no such file or named config"),
        ("train --config={tmp}/syntax.py {workdir}", r"syntax\.py, line 1: invalid syntax"),
        ("train {config}y {workdir}", r"shapes\.py, line \d+: there is no variant 'tinyy'"),
        ("train {config} {workdir} --config.train.batchsize=3", "batchsize; did you mean batch_"),
        ("train {config} {workdir} --config.train.epochs=x", "config.train.epochs=x: .*'x'"),
        ("train {config} {workdir} --config.train.epochs=0", r"train\.epochs=0 must be greater"),
        ("train {config} {workdir} --top=3", "imcap train takes no --top; imcap caption takes it"),
        ("train {config} {workdir} --distrbute=none", "--distrbute; did you mean --distribute?"),
        ("train {config} {workdir} --distribute=all", "--distribute=all must be one of auto"),
        ("train {config} {workdir}", "holds no finished records: run `imcap records`"),
        ("eval {config} {workdir}", "holds no finished records"),
        ("export {config} {workdir}", "holds no finished records"),
        ("records {config} {workdir}", r"encoder\.weights\.h5: no such file \(`imcap pretrain`"),
        ("records {config} {workdir} --dry_run", r"encoder\.weights\.h5: no such file"),
        ("records {config} {workdir} --overwrit", "takes --overwrit; did you mean --overwrite"),
        ("records {config} {workdir} --top=3", "Beam takes --top; imcap caption takes it"),
        ("records {config} {workdir} images", "neither imcap records nor Beam takes images"),
        ("records {config} {workdir} --direct_num_workers=x", "num_workers: invalid int value"),
        ("records {config} {workdir} --runner=Flunk", "--runner=Flunk: Unexpected pipeline runner"),
        ("records {config} {workdir} --config.dataset.name=table", "there is no folder .*shapes"),
        ("records {config} --workdir={tmp}/file --config.encoder.weights=", "cannot be written"),
        ("pretrain {config} {workdir} --config.encoder.name=VGG16", "custom_cnn, not VGG16"),
        ("caption --model={tmp}/none {tmp}/file", "none: no such folder"),
        ("caption --model={tmp} {tmp}/file", "no exported model in it"),
        ("caption --model={tmp} {tmp}/none.jpg", r"none\.jpg: no such file or folder"),
        ("caption --model={tmp}", "needs at least one file, folder or glob"),
        ("caption --model=a --model=b image.jpg", "needs one --model=DIR"),
        ("serve --port=0", "needs --model=DIR or --model=NAME=DIR"),
        ("serve --port=0 --model={tmp}/none", "none: no such folder"),
        ("serve --port=0 --model=name={tmp}/none", "none: no such folder"),
        ("serve --port=many", "--port=many: invalid literal"),
        ("inspect {tmp}/none", "holds no finished records"),
        ("scores {workdir}", "holds no scores: run `imcap eval` first"),
        ("bench", "needs one name: records, scale, input"),
        ("bench records --image_dir={tmp}", "--config=NAME is missing"),
        ("bench records --config=shapes", "needs --image_dir=DIR"),
        ("bench scale --config=shapes", "--num_images=3000: imcap bench scale needs at least"),
        ("bench notebook --config=shapes --image_dir={tmp}", "dataset.dir=DIR, not --image_dir"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_and_writes_no_config(mistakes, tmp_path, arguments, message):
    names = {"tmp": mistakes, "config": CONFIG, "workdir": f"--workdir={tmp_path / 'run'}"}
    command = [argument.format(**names) for argument in arguments.split()]
    if command[0] == "records":
        command.append("--config.dataset.size=6")
    assert re.search(message, command_refusal(processes.run_fork(*command)))
    assert not (tmp_path / "run" / "config.json").exists()


def test_a_port_in_use_is_named_before_any_model_is_loaded(mistakes):
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        finished = processes.run_fork("serve", f"--model=a={mistakes}", f"--port={port}")
    assert f"--port={port}: Address already in use" in command_refusal(finished)


def test_a_fresh_process_prints_one_line_too():
    message = command_refusal(processes.run("records", "--workdr=run"))
    assert message == "neither imcap records nor Beam takes --workdr; did you mean --workdir?"


def test_help_names_every_command():
    finished = processes.run_fork("help")
    assert (finished.status, finished.err) == (0, "")
    for name in cli.COMMANDS:
        assert f"  {name} " in finished.out
    assert processes.run_fork("--help") == finished
    assert processes.run_fork() == processes.Finished(2, finished.out, "")


def test_help_of_a_command_names_its_flags():
    finished = processes.run_fork("train", CONFIG, "--help")
    assert (finished.status, finished.err) == (0, "")
    assert "--distribute=NAME" in finished.out and "--top" not in finished.out
    assert processes.run_fork("help", "train") == finished


def test_version():
    assert processes.run_fork("--version").out == f"imcap {imcap.__version__}\n"


def test_scores_are_those_of_all_workdirs_that_are_named(tmp_path):
    workdirs = [tmp_path / name for name in ("a", "b", "c")]
    for workdir in workdirs:
        (workdir / "eval" / "dev").mkdir(parents=True)
        (workdir / "eval" / "dev" / "metrics.json").write_text('{"images": 9, "cider": 0.5}')
    finished = processes.run_fork("scores", f"--workdir={workdirs[0]}", *workdirs[1:])
    lines = finished.out.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == list(map(str, workdirs))
    assert lines[4:] == [str(workdir / "eval" / "dev" / "report.html") for workdir in workdirs]


def test_compare_prints_a_table_and_writes_a_page(tmp_path):
    references = {"x": ["a dog runs"], "y": ["a black cat sits"], "z": ["two men"]}
    captions = {"a": dict.fromkeys(references, "a dog"), "b": dict.fromkeys(references, "a cat")}
    for name, found in captions.items():
        evaluation_folders.write_evaluation(tmp_path / name, references, found)
    finished = processes.run_fork(
        "compare", tmp_path / "a", tmp_path / "b", f"--output_dir={tmp_path / 'c'}"
    )
    assert (finished.status, finished.err) == (0, "")
    lines = finished.out.splitlines()
    assert [line.split()[0] for line in lines[1:7]] == (
        ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "CIDEr-D"]
    )
    assert lines[-1] == str(tmp_path / "c" / "compare.html")
    assert sorted(os.listdir(tmp_path / "c")) == ["compare.html", "compare.json"]


def test_compare_needs_two_evaluations(tmp_path):
    message = command_refusal(processes.run_fork("compare", tmp_path))
    assert message == "imcap compare needs two runs, or their eval/SPLIT folders"


def test_a_dry_run_writes_nothing(tmp_path):
    finished = processes.run_fork(
        "records", CONFIG, f"--workdir={tmp_path / 'run'}", *SMALL, "--config.encoder.weights=",
        "--dry_run",
    )  # fmt: skip
    assert (finished.status, finished.err) == (0, "")
    assert finished.out.startswith("dev: 6 images in 2 shards, about ")
    assert "train: 48 images" in finished.out
    assert os.listdir(tmp_path) == []
