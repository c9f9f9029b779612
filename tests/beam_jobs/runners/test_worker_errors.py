"""What goes wrong in a worker reaches the user as the one line that it is."""

from __future__ import annotations

import resource
from pathlib import Path

import landscapes
import processes
import pytest

from beam_jobs import build_records
from beam_jobs.runners import worker_errors
from imcap import config as config_lib
from imcap.errors import UserError


def test_a_caption_file_that_cannot_be_read_is_named_without_a_traceback(tmp_path, caplog, capfd):
    for name in ("a", "b", "c"):
        landscapes.draw(0).save(tmp_path / f"{name}.jpg")
        (tmp_path / f"{name}.txt").write_text("A dog\n")
    (tmp_path / "b.txt").write_text("A dog\n", encoding="utf-16")
    config = landscapes.make_records_config(tmp_path, tmp_path, dataset__name="folder")
    with pytest.raises(UserError) as raised:
        build_records.build_records(config)
    assert str(raised.value) == f"{tmp_path}/b.txt: this is UTF-16; save it as UTF-8"
    assert caplog.messages == []
    assert "Traceback" not in capfd.readouterr().err
    assert not Path(config.records.dir, "COMPLETED").exists()


def test_a_finished_folder_is_finished_no_more_once_a_job_failed_in_it(copy):
    config = copy()
    shard = Path(config.records.dir, "dev-00000-of-00002.tfrecord")
    shard.unlink()
    shard.mkdir()
    with pytest.raises(UserError, match=f"{shard} cannot be written: Is a directory"):
        build_records.build_records(config)
    assert not Path(config.records.dir, "COMPLETED").exists()


def test_a_full_disk_is_named_and_leaves_no_half_shard(photos, tmp_path):
    changes = {"records__num_shards": 1, "encoder__image_size": 96}
    config = landscapes.make_records_config(tmp_path, photos, **changes)
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


# What runners make of a worker's exception: in this process, in another one, and from Java.
WRAPPED = [
    UserError("a.txt: bad [while running 'Read/FlatMap(read)']"),
    RuntimeError(
        "Error received from SDK harness for instruction bundle_1: Traceback (most recent call "
        'last):\n  File "x.py", line 1, in read\nimcap.errors.UserError: a.txt: bad\n\nDuring '
        "handling of the above exception, another exception occurred:\n\nimcap.errors.UserError: "
        "a.txt: bad [while running 'Read/FlatMap(read)']\n"
    ),
    RuntimeError(
        "Pipeline job failed in state FAILED: java.lang.RuntimeException: Error received from SDK "
        "harness for instruction 1: Traceback\nimcap.errors.UserError: a.txt: bad [while running "
        "'Read/FlatMap(read)']\n\tat org.apache.beam.runners.core.Main"
    ),
]


@pytest.mark.parametrize("error", WRAPPED, ids=["here", "process", "java"])
def test_every_runner_s_wrapping_is_taken_off(error):
    with pytest.raises(UserError) as raised, worker_errors.passed_on():
        raise error
    assert str(raised.value) == "a.txt: bad"


def test_ctrl_c_in_a_worker_stays_ctrl_c():
    with pytest.raises(KeyboardInterrupt), worker_errors.passed_on():
        raise RuntimeError("KeyboardInterrupt [while running 'EncodeShard']")


@pytest.mark.parametrize("error", [RuntimeError("a bug"), UserError("from the launcher")])
def test_any_other_exception_stays_what_it_is(error):
    with pytest.raises(type(error)) as raised, worker_errors.passed_on():
        raise error
    assert raised.value is error
