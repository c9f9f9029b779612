"""The jobs on a Flink cluster: the bytes of the local runner, even if a host is lost.

`make test-flink` fetches what this needs and runs it; other test runs leave it out.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import flink_cluster as cluster
import landscapes
import processes
import pytest
from ml_collections import ConfigDict

from beam_jobs import build_records, captions_folder
from configs import shapes
from imcap import config as config_lib
from imcap import records
from imcap.encoders import networks

pytestmark = pytest.mark.flink

FETCHED = processes.ROOT / ".flink"
SETTINGS = {"encoder.width": 32, "records.num_shards": 6, "dataset.size": 6_000}
SECONDS = 1_200  # No run takes this long, however busy the machine.


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> ConfigDict:
    """The config of a finished run of the local runner."""
    workdir = tmp_path_factory.mktemp("local")
    config = shapes.get_config()
    config.update_from_flattened_dict(SETTINGS)
    config = config_lib.resolve(config, str(workdir))
    unweighted = ConfigDict({**config.encoder.to_dict(), "weights": ""})
    network, _ = networks.load(unweighted)
    network.save_weights(config.encoder.weights)
    build_records.build_records(config)
    return config


@pytest.fixture
def flink(tmp_path: Path) -> Iterator[cluster.Cluster]:
    """A cluster of two hosts with two slots each."""
    with cluster.Cluster(FETCHED / "dist" / "pyflink", tmp_path / "cluster") as started:
        yield started


def flags(flink: cluster.Cluster, local: ConfigDict, workdir: Path) -> list[str]:
    """What a user types after `imcap`; the workdir is relative, as it mostly is."""
    given = {"dataset.dir": local.dataset.dir, "encoder.weights": local.encoder.weights}
    return [
        "records",
        "--config=configs/shapes.py",
        f"--workdir={os.path.relpath(workdir, processes.ROOT)}",
        *(f"--config.{key}={value}" for key, value in (SETTINGS | given).items()),
        *runner_flags(flink),
    ]


def runner_flags(flink: cluster.Cluster) -> list[str]:
    return [
        "--runner=flink",
        f"--flink_master={flink.master}",
        f"--flink_job_server_jar={FETCHED / 'job-server' / 'job-server.jar'}",
        "--parallelism=2",
    ]


def digests(folder: Path) -> dict[str, str]:
    """A digest of each shard's bytes and of the vocabulary's, by name."""
    paths = [*folder.glob("*.tfrecord"), folder / records.VOCABULARY]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def assert_same_records(folder: Path, local: ConfigDict) -> None:
    expected = digests(Path(local.records.dir))
    assert len(expected) == num_shards(local) + 1
    assert digests(folder) == expected
    assert records.read_info(str(folder)).splits == records.read_info(local.records.dir).splits


def num_shards(local: ConfigDict) -> int:
    """Shards of all splits."""
    return len(records.read_info(local.records.dir).splits) * SETTINGS["records.num_shards"]


def finished_shards(folder: Path) -> set[str]:
    reports = folder.glob("shards/*-?????.json")
    count = SETTINGS["records.num_shards"]
    return {
        records.shard_name(split, int(shard), count)
        for split, shard in (report.stem.split("-") for report in reports)
    }


def test_flink_makes_the_bytes_of_the_local_runner(flink, local, tmp_path):
    with processes.start(*flags(flink, local, tmp_path)) as process:
        out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, err
    assert f"{records.read_info(local.records.dir).counts['kept']} images" in out
    assert_same_records(tmp_path / "records", local)
    assert flink.restarts() == 0


def test_a_job_that_loses_a_host_goes_on_from_its_finished_shards(flink, local, tmp_path):
    folder = tmp_path / "records"
    with processes.start(*flags(flink, local, tmp_path)) as process:
        flink.wait_for(lambda: len(finished_shards(folder)) > 5, "six shards", SECONDS)
        before = finished_shards(folder)
        times = {name: (folder / name).stat().st_mtime_ns for name in before}
        flink.kill(min(flink.busy_task_managers()))
        assert len(finished_shards(folder)) < num_shards(local)
        _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, err
    assert flink.restarts() > 0
    assert_same_records(folder, local)
    assert {name: (folder / name).stat().st_mtime_ns for name in before} == times


def test_captions_of_a_job_that_loses_a_host_are_those_of_the_local_runner(
    flink, landscape_export, tmp_path
):
    folder, out, local = tmp_path / "images", tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    folder.mkdir()
    for number in range(6_000):
        if number < 20:
            landscapes.draw(number).save(folder / f"{number:05d}.jpg")
        else:
            (folder / f"{number:05d}.jpg").symlink_to(folder / f"{number % 20:05d}.jpg")
    given = ("caption", f"--model={landscape_export}", folder, "--part_size=100")
    assert processes.run(*given, f"--out={local}").status == 0
    parts = Path(captions_folder.parts_folder(str(out)))
    with processes.start(*given, f"--out={out}", *runner_flags(flink)) as process:
        flink.wait_for(lambda: len(list(parts.glob("part-*"))) > 5, "six parts", SECONDS)
        times = {path: path.stat().st_mtime_ns for path in parts.glob("part-*")}
        flink.kill(min(flink.busy_task_managers()))
        assert not out.exists()
        _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, err
    assert flink.restarts() > 0
    assert out.read_bytes() == local.read_bytes()
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_a_cluster_without_task_managers_is_refused_in_one_line(local, tmp_path):
    with cluster.Cluster(FETCHED / "dist" / "pyflink", tmp_path / "empty", 0) as empty:
        finished = processes.run(*flags(empty, local, tmp_path))
    assert finished.status == 2
    assert finished.err.splitlines()[-1] == (
        f"imcap: --flink_master={empty.master} has no task slot: start a TaskManager"
    )
    assert not (tmp_path / "records").exists()
