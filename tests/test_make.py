"""`make`: what its targets pass to `imcap`, for any characters in paths."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess

import processes
import pytest

STUB = """#!/usr/bin/env python3
import json, sys
print(json.dumps(sys.argv[1:]))
"""


@pytest.fixture
def make(tmp_path):
    """Runs make in a folder where `imcap` prints its arguments; returns those of each call."""
    shutil.copy(processes.ROOT / "Makefile", tmp_path)
    stub = tmp_path / ".venv" / "bin" / "imcap"
    stub.parent.mkdir(parents=True)
    stub.write_text(STUB)
    stub.chmod(0o755)

    def run(*arguments: str) -> list[list[str]]:
        # What `setup` needs is taken as done: --assume-old.
        command = ["make", "--silent", "--assume-old=setup", *arguments]
        # The variables of the make that may run these tests are not this one's.
        env = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
        output = subprocess.check_output(command, cwd=tmp_path, text=True, env=env)
        return [json.loads(line) for line in output.splitlines() if line.startswith("[")]

    return run


def test_paths_with_spaces_and_quotes_reach_the_command_whole(make):
    (arguments,) = make(
        "train", "DATA=my images", "WORKDIR=my runs/a", "WEIGHTS=it's $$x/w.h5", "CONFIG=my conf.py"
    )
    assert arguments == [
        "train", "--config=my conf.py", "--workdir=my runs/a", "--config.dataset.dir=my images",
        "--config.encoder.weights=it's $x/w.h5",
    ]  # fmt: skip


def test_images_are_captioned_by_a_job_of_any_runner(make):
    assert make("caption", "IMAGES=my images", "RUNNER=flink", "FLINK_MASTER=host:8081") == [
        ["caption", "--model=runs/flickr8k", "my images", "--out=runs/flickr8k/captions.jsonl",
         "--runner=flink", "--flink_master=host:8081"],
    ]  # fmt: skip
    (arguments,) = make("caption", "IMAGES=*.jpg", "MODEL=m", "OUT=a b.csv", "ARGS=--sidecar")
    assert arguments == ["caption", "--model=m", "*.jpg", "--out=a b.csv", "--sidecar"]


def test_without_config_the_run_s_own_is_left_to_the_command(make, tmp_path):
    assert make("eval") == [["eval", "--config=flickr8k", "--workdir=runs/flickr8k", "--split=dev"]]
    (tmp_path / "my run").mkdir()
    (tmp_path / "my run" / "config.json").write_text("{}")
    assert make("eval", "WORKDIR=my run", "SPLIT=test") == [
        ["eval", "--workdir=my run", "--split=test"]
    ]


@pytest.mark.parametrize("target", ["records", "pretrain", "train", "eval", "export"])
def test_the_workdir_is_named_after_the_config(make, target):
    (arguments,) = make(target, "CONFIG=configs/coco.py", "ARGS=--config.seed=1 --config.seed=2")
    assert arguments[:3] == [target, "--config=configs/coco.py", "--workdir=runs/coco"]
    assert arguments[3:5] == ["--config.seed=1", "--config.seed=2"]
    (arguments,) = make(target, "CONFIG=flickr8k:inject")
    assert arguments[:3] == [target, "--config=flickr8k:inject", "--workdir=runs/flickr8k-inject"]


@pytest.mark.parametrize("target", ["serve", "app"])
def test_serve_and_app_need_only_the_run(make, target):
    assert make(target, "WORKDIR=my run") == [[target, "--model=my run"]]
    assert make(target, "MODEL=a=b c", "PORT=1") == [[target, "--model=a=b c", "--port=1"]]


def test_a_benchmark_needs_nothing_but_the_setup(make):
    assert make("bench", "BENCH=scale", "CONFIG=coco") == [
        ["bench", "scale", "--config=coco", "--workdir=runs/coco"]
    ]


def test_a_wheel_holds_nothing_of_an_earlier_build(make, tmp_path):
    (tmp_path / ".venv" / "bin" / "python").symlink_to("imcap")
    for name in ("build/lib/imcap/deleted.py", "dist/imcap-0.1.0-py3-none-any.whl"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    assert [call[:3] for call in make("wheel")] == [["-m", "pip", "wheel"]]
    assert not (tmp_path / "build" / "lib").exists() and not any((tmp_path / "dist").iterdir())


def test_records_on_flink(make):
    (arguments,) = make("records", "RUNNER=flink", "FLINK_MASTER=host:8081")
    assert arguments[:3] == ["records", "--runner=flink", "--flink_master=host:8081"]


def test_a_system_goes_from_images_to_scores(make):
    calls = make("system", "SYSTEM=vgg16_two_datasets:flickr8k", "DATA=d", "WEIGHTS=w")
    assert [call[0] for call in calls] == ["records", "train", "eval", "export", "scores"]
    for call in calls[:-1]:
        assert call[1:3] == [
            "--config=systems/vgg16_two_datasets:flickr8k",
            "--workdir=runs/vgg16_two_datasets-flickr8k",
        ]
    assert calls[-1] == ["scores", "--workdir=runs/vgg16_two_datasets-flickr8k"]


def test_a_system_with_its_own_cnn_trains_that_first_and_shows_the_held_out_images(make):
    calls = make("system", "SYSTEM=custom_cnn_flickr30k", "DATA=d")
    assert [call[0] for call in calls] == [
        "pretrain", "records", "train", "eval", "eval", "export", "scores",
    ]  # fmt: skip
    assert calls[4][-1] == "--split=holdout"


def test_a_system_without_a_name_lists_those_there_are(tmp_path):
    shutil.copy(processes.ROOT / "Makefile", tmp_path)
    (tmp_path / "configs" / "systems").mkdir(parents=True)
    for name in ("__init__", "one", "two"):
        (tmp_path / "configs" / "systems" / f"{name}.py").touch()
    command = ["make", "--assume-old=setup", "system"]
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert process.returncode == 2
    assert re.search("SYSTEM=NAME is missing: one of (one two|two one)\\.", process.stderr)


def test_every_target_is_in_the_help(make, tmp_path):
    shown = subprocess.check_output(["make", "help"], cwd=tmp_path, text=True)
    makefile = (tmp_path / "Makefile").read_text()
    (targets,) = re.findall(r"^\.PHONY: help (.+)$", makefile, re.MULTILINE)
    assert re.findall(r"^  make (\S+) +\S", shown, re.MULTILINE)[1:] == targets.split()
    assert "WORKDIR=runs/flickr8k" in shown
