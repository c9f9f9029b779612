"""What a run on Flink is given besides what the user typed, and what it refuses in one line."""

from __future__ import annotations

import functools
import http.server
import json
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import (
    FlinkRunnerOptions,
    PipelineOptions,
    PortableOptions,
    StandardOptions,
)
from apache_beam.version import __version__ as beam_version
from refusals import refusal

from beam_jobs.runners import flink

RESTARTS = {"key": "restart-strategy.type", "value": "fixed-delay"}


@pytest.fixture
def job_manager(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Makes an HTTP server answer as a JobManager would; gives its address."""
    folder = tmp_path / "answers"
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()

    def answer(version: str = "1.19.3", slots: int = 4, settings: tuple = (RESTARTS,)) -> str:
        (folder / "jobmanager").mkdir(parents=True)
        overview = {"flink-version": version, "slots-total": slots}
        (folder / "overview").write_text(json.dumps(overview))
        (folder / "jobmanager" / "config").write_text(json.dumps(settings))
        return f"127.0.0.1:{server.server_port}"

    yield answer
    server.shutdown()
    server.server_close()


@pytest.fixture
def installed(tmp_path: Path) -> list[str]:
    """Flags that name a program in Java's place and a file in the job server's."""
    jar = tmp_path / "job-server.jar"
    jar.touch()
    return [f"--job_server_java_launcher={sys.executable}", f"--flink_job_server_jar={jar}"]


@pytest.mark.parametrize(
    "args", [[], ["--direct_num_workers=2"], ["--runner=SparkRunner", "--parallelism=3"]]
)
def test_other_runners_options_stay_as_they_are(args):
    assert flink.complete_options(args) == args


@pytest.mark.parametrize("name", ["flink", "Flink", "FlinkRunner"])
def test_the_cluster_says_how_the_job_runs(job_manager, installed, name, logged):
    master = job_manager(version="1.20.1", slots=6)
    args = flink.complete_options([f"--runner={name}", f"--flink_master={master}", *installed])
    options = PipelineOptions(args)
    assert options.view_as(StandardOptions).runner == "FlinkRunner"
    assert options.view_as(FlinkRunnerOptions).flink_version == "1.20"
    assert options.view_as(FlinkRunnerOptions).parallelism == 6
    assert options.view_as(PortableOptions).environment_type == "PROCESS"
    command = json.loads(options.view_as(PortableOptions).environment_config)["command"]
    assert command == os.path.join(os.path.dirname(sys.executable), "imcap-worker")
    assert os.access(command, os.X_OK)
    assert logged() == []


@pytest.mark.parametrize(
    ("args", "master"),
    [
        ([], None),
        (["--runner=flink"], None),
        (["--runner=flink", "--flink_master=[local]"], None),
        (["--flink_master=host:8081"], None),
        (["--runner=FlinkRunner", "--flink_master=host:8081"], "host:8081"),
    ],
)
def test_the_cluster_is_known_from_the_options(args, master):
    assert flink.cluster_address(PipelineOptions(args)) == master


def test_what_the_user_says_stays(job_manager, installed):
    given = ["--parallelism=2", "--environment_type=EXTERNAL", "--environment_config=host:50000"]
    master = job_manager(slots=6)
    args = flink.complete_options(
        ["--runner=flink", f"--flink_master={master}", *given, *installed]
    )
    options = PipelineOptions(args)
    assert options.view_as(FlinkRunnerOptions).parallelism == 2
    assert options.view_as(PortableOptions).environment_type == "EXTERNAL"
    assert options.view_as(PortableOptions).environment_config == "host:50000"


def test_a_cluster_without_restarts_is_logged(job_manager, installed, logged):
    master = job_manager(settings=({"key": "rest.port", "value": "8081"},))
    flink.complete_options(["--runner=flink", f"--flink_master={master}", *installed])
    (line,) = logged()
    assert "restart-strategy.type: fixed-delay" in line


def test_a_cluster_that_is_not_there_is_refused(installed):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        master = f"127.0.0.1:{closed.getsockname()[1]}"
        message = refusal(
            flink.complete_options, ["--runner=flink", f"--flink_master={master}", *installed]
        )
    assert message.startswith(f"--flink_master={master}: no Flink JobManager answers there (")
    assert "Connection refused" in message
    assert message.endswith("such as HOST:8081")


def test_another_server_than_a_job_manager_is_refused(job_manager, installed, tmp_path):
    master = job_manager()
    (tmp_path / "answers" / "overview").write_text("<html>")
    assert "no Flink JobManager" in refusal(
        flink.complete_options, ["--runner=flink", f"--flink_master={master}", *installed]
    )
    (tmp_path / "answers" / "overview").write_text("[1]")
    assert "no Flink JobManager" in refusal(
        flink.complete_options, ["--runner=flink", f"--flink_master={master}", *installed]
    )
    (tmp_path / "answers" / "overview").unlink()
    assert "File not found" in refusal(
        flink.complete_options, ["--runner=flink", f"--flink_master={master}", *installed]
    )


def test_a_flink_that_beam_does_not_run_on_is_refused(job_manager, installed):
    master = job_manager(version="1.12.7")
    message = refusal(
        flink.complete_options, ["--runner=flink", f"--flink_master={master}", *installed]
    )
    known = ", ".join(FlinkRunnerOptions.PUBLISHED_FLINK_VERSIONS)
    assert message == (
        f"--flink_master={master} is a Flink 1.12 cluster; Beam {beam_version} runs on Flink "
        f"{known}"
    )


def test_a_cluster_without_slots_is_refused(job_manager, installed):
    message = refusal(
        flink.complete_options,
        ["--runner=flink", f"--flink_master={job_manager(slots=0)}", *installed],
    )
    assert message.endswith("has no task slot: start a TaskManager")


def test_a_machine_without_java_is_refused():
    message = refusal(
        flink.complete_options, ["--runner=flink", "--job_server_java_launcher=no-such-java"]
    )
    assert message.startswith("Beam's job server for Flink runs on Java, and there is no no-such")


def test_a_missing_jar_is_refused(tmp_path):
    launcher = f"--job_server_java_launcher={sys.executable}"
    jar = f"--flink_job_server_jar={tmp_path / 'lost.jar'}"
    assert (
        refusal(flink.complete_options, ["--runner=flink", launcher, jar]) == f"{jar}: no such file"
    )


def test_the_job_server_is_that_of_the_cluster_s_version(job_manager, tmp_path):
    jar = tmp_path / f"beam-runners-flink-1.19-job-server-{beam_version}.jar"
    jar.touch()  # In the cache, so that nothing is fetched.
    args = flink.complete_options(
        [
            "--runner=flink",
            f"--flink_master={job_manager(version='1.19.0')}",
            f"--job_server_java_launcher={sys.executable}",
            f"--jar_cache_dir={tmp_path}",
        ]
    )
    assert PipelineOptions(args).view_as(FlinkRunnerOptions).flink_job_server_jar == str(jar)


def test_a_job_server_that_runs_already_needs_neither_java_nor_jar():
    args = ["--runner=flink", "--job_endpoint=host:8099", "--job_server_java_launcher=no-java"]
    assert flink.complete_options(args) == [*args, "--runner=FlinkRunner"]
