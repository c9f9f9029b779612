"""What fails in a worker reaches the user as one line."""

from __future__ import annotations

import resource
from pathlib import Path

import apache_beam as beam
import landscapes
import processes
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs import build_records
from beam_jobs.runners import job_errors, runner_options
from imcap import config as config_lib
from imcap.errors import UserError


def test_an_unreadable_caption_file_is_named_in_one_line(tmp_path, caplog, capfd):
    for name in ("a", "b", "c"):
        landscapes.draw(0).save(tmp_path / f"{name}.jpg")
        (tmp_path / f"{name}.txt").write_text("A dog\n")
    (tmp_path / "b.txt").write_text("A dog\n", encoding="utf-16")
    config = landscapes.make_records_config(tmp_path, tmp_path, dataset__name="folder")
    with pytest.raises(UserError) as raised:
        build_records.build_records(config)
    assert str(raised.value) == f"{tmp_path}/b.txt: this is UTF-16; save it as UTF-8"
    # Other libraries may still log what earlier tests have left to them.
    assert [record for record in caplog.records if record.name.startswith("apache_beam")] == []
    assert "Traceback" not in capfd.readouterr().err
    assert not Path(config.records.dir, "COMPLETED").exists()


def test_a_failed_job_unmarks_a_finished_folder(copied_config):
    config = copied_config()
    shard = Path(config.records.dir, "dev-00000-of-00002.tfrecord")
    shard.unlink()
    shard.mkdir()
    with pytest.raises(UserError, match=f"{shard} cannot be written: Is a directory"):
        build_records.build_records(config)
    assert not Path(config.records.dir, "COMPLETED").exists()


def test_a_full_disk_is_named_and_leaves_no_half_shard(image_set, tmp_path):
    changes = {"records__num_shards": 1, "encoder__image_size": 96}
    config = landscapes.make_records_config(tmp_path, image_set, **changes)
    process = processes.fork(_run_where_files_are_small, config, str(tmp_path / "message"))
    process.join()
    message = (tmp_path / "message").read_text()
    path = Path(config.records.dir, "train-00000-of-00001.tfrecord")
    assert message == f"{path} cannot be written: File too large"
    assert not list(Path(config.records.dir).glob("train*"))


def _run_where_files_are_small(config: config_lib.ConfigDict, message: str) -> None:
    """Runs the job where a file that grows beyond 20 kB fails, as on a disk that is full."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    try:
        build_records.build_records(config)
    except UserError as error:
        Path(message).write_text(str(error))


# Beam's own runners, in each way that an exception of a worker reaches the launcher.
RUNNERS = {
    "this process": [],
    "gRPC": ["--direct_running_mode=multi_threading"],
    "job service": [
        "--runner=PortableRunner",
        "--job_endpoint=embed",
        "--environment_type=beam:env:embedded_python:v1",
    ],
}


def run_failing(error: BaseException, args: list[str], master: str | None = None) -> None:
    """Runs a pipeline whose step `Fail` raises `error`."""

    def fail(_: int) -> None:
        raise error

    options = PipelineOptions(args, pickle_library="cloudpickle")
    pipeline = beam.Pipeline(runner=runner_options.create_runner(options), options=options)
    _ = pipeline | beam.Create([0]) | "Fail" >> beam.Map(fail)
    with job_errors.raised_in_one_line(master):
        pipeline.run().wait_until_finish()


@pytest.mark.parametrize("args", RUNNERS.values(), ids=RUNNERS)
def test_a_worker_s_user_error_is_raised_as_it_was(args):
    with pytest.raises(UserError) as raised:
        run_failing(UserError("a.txt: bad (line 1: 'x')"), args)
    assert str(raised.value) == "a.txt: bad (line 1: 'x')"


def test_a_user_error_from_java_is_raised_as_it_was():
    message = (
        "Pipeline job failed in state FAILED: java.lang.RuntimeException: Error received from SDK "
        "harness for instruction 1: Traceback\nimcap.errors.UserError: a.txt: bad [while running "
        "'Read/FlatMap(read)']\n\tat org.apache.beam.runners.core.Main"
    )
    with pytest.raises(UserError) as raised, job_errors.raised_in_one_line("host:8081"):
        raise RuntimeError(message)
    assert str(raised.value) == "a.txt: bad"


def test_an_interrupt_in_a_worker_stays_one():
    with pytest.raises(KeyboardInterrupt):
        run_failing(KeyboardInterrupt(), RUNNERS["gRPC"])


def test_a_failure_on_flink_is_one_line_with_step_and_log():
    with pytest.raises(UserError) as raised:
        run_failing(ValueError("no such thing"), RUNNERS["job service"], "host:8081")
    assert str(raised.value) == (
        "the job failed on the Flink cluster host:8081 (ValueError: no such thing, in the step "
        "Fail); its JobManager's log is at http://host:8081/jobmanager/log; the same command "
        "continues with the shards that are missing"
    )


def test_a_failure_of_the_cluster_itself_is_one_line():
    error = RuntimeError("Pipeline 1 failed in state FAILED: org.apache.Lost\n\tat org.apache.Main")
    with pytest.raises(UserError) as raised, job_errors.raised_in_one_line("http://host:8081"):
        raise error
    assert "(Pipeline 1 failed in state FAILED: org.apache.Lost)" in str(raised.value)
    assert "http://host:8081/jobmanager/log" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("error", [RuntimeError("a bug"), UserError("from the launcher")])
def test_any_other_exception_stays_itself(error):
    with pytest.raises(type(error)) as raised, job_errors.raised_in_one_line():
        raise error
    assert raised.value is error
