"""Beam's own options on the command line, and the paths that workers elsewhere are given."""

from __future__ import annotations

import contextlib
from pathlib import Path

import landscapes
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.flink_runner import FlinkRunner
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from beam_jobs.runners import runner_options
from imcap.errors import UserError


def test_beam_s_options_are_known():
    arguments = ["--direct_num_workers=2", "--direct_running_mode", "multi_processing"]
    assert runner_options.unknown_options(arguments) == []
    assert runner_options.unknown_options([]) == []


@pytest.mark.parametrize("argument", ["--direct_num_worker=2", "--overwrit", "images"])
def test_what_beam_does_not_take_is_found(argument, caplog):
    assert runner_options.unknown_options(["--direct_num_workers=2", argument]) == [argument]
    # Other libraries may log what earlier tests have left to them.
    assert [record for record in caplog.records if record.name.startswith("apache_beam")] == []


def test_a_runner_elsewhere_may_have_options_of_its_own():
    assert runner_options.unknown_options(["--runner=FlinkRunner", "--its_own=1"]) == []


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--direct_num_workers=two", "argument --direct_num_workers: invalid int value: 'two'"),
        ("--direct_num_workers", "argument --direct_num_workers: expected one argument"),
        ("--direct_running_mode=fast", "argument --direct_running_mode: invalid choice: 'fast'"),
    ],
)
def test_a_wrong_value_is_named_in_one_line(argument, message, capsys):
    with pytest.raises(UserError, match=f"flags: {message}"):
        runner_options.unknown_options([argument])
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("arguments", [[], ["--runner=DirectRunner"]])
def test_the_runner_on_this_machine_needs_nothing_else(arguments):
    assert isinstance(runner_options.create_runner(PipelineOptions(arguments)), FnApiRunner)


def test_other_runners_go_by_their_names():
    chosen = runner_options.create_runner(PipelineOptions(["--runner=FlinkRunner"]))
    assert isinstance(chosen, FlinkRunner)


@pytest.mark.parametrize("name", ["Flunk", "no.such.Runner"])
def test_a_runner_that_is_not_there_is_named(name):
    with pytest.raises(UserError, match=f"--runner={name}: ") as refused:
        runner_options.create_runner(PipelineOptions([f"--runner={name}"]))
    assert "\n" not in str(refused.value)


def test_workers_in_other_folders_find_the_paths(tmp_path):
    config = landscapes.make_records_config(
        Path("run"), Path("images"), encoder__name="encoder.keras"
    )
    (tmp_path / "encoder.keras").touch()
    with contextlib.chdir(tmp_path):
        found = runner_options.absolute_paths(config)
    assert found.dataset.dir == str(tmp_path / "images")
    assert found.records.dir == str(tmp_path / "run" / "records")
    assert found.encoder.name == str(tmp_path / "encoder.keras")
    assert config.records.dir == "run/records"


@pytest.mark.parametrize("folder", ["gs://bucket/images", ""])
def test_paths_that_hold_everywhere_stay(folder, tmp_path):
    config = landscapes.make_records_config(tmp_path, tmp_path, dataset__dir=folder)
    assert runner_options.absolute_paths(config).dataset.dir == folder
