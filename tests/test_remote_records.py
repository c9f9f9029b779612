"""Records that the job writes to a bucket are trained on, scored, exported and inspected."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import landscapes
import object_store
import outputs
import pytest
from ml_collections import ConfigDict

from beam_jobs import build_records
from imcap import evaluate, export, inspect_records, train
from imcap.records import staging

REMOTE = f"s3://{object_store.BUCKET}/records"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with object_store.serve() as url:
        yield url


@pytest.fixture(scope="module")
def run(server, tmp_path_factory, landscape_data) -> ConfigDict:
    """The config of a run with records in a bucket, trained for an epoch."""
    workdir = tmp_path_factory.mktemp("remote")
    config = landscapes.make_config(
        workdir,
        landscape_data,
        records__dir=REMOTE,
        records__cache_dir=str(workdir / "cache"),
        records__num_shards=1,
        records__find_duplicates=False,
        train__epochs=1,
    )
    build_records.build_records(config)
    train.train_and_evaluate(config, str(workdir), "none")
    return config


def workdir_of(config: ConfigDict) -> str:
    return os.path.dirname(config.records.cache_dir)


def shards(folder: str | Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).glob("*.tfrecord")}


def test_training_and_scoring_read_the_copy(run):
    folder = staging.local_folder(REMOTE, run.records.cache_dir)
    assert sorted(shards(folder)) == [
        "dev-00000-of-00001.tfrecord",
        "train-00000-of-00001.tfrecord",
    ]
    before = outputs.identities(folder)
    evaluate.evaluate_split(run, workdir_of(run), "dev")
    predictions = Path(workdir_of(run), "eval", "dev", "predictions.json")
    assert len(json.loads(predictions.read_text())) == 9
    assert outputs.identities(folder) == before
    assert os.listdir(run.records.cache_dir) == [os.path.basename(folder)]


def test_export_copies_no_shards(run, tmp_path):
    config = run.copy_and_resolve_references()
    config.records.cache_dir = str(tmp_path)
    assert os.path.isdir(export.export_model(config, workdir_of(run)))
    (folder,) = tmp_path.iterdir()
    assert shards(folder) == {}


def test_inspect_verifies_the_copy(run, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    *_, verified, report = inspect_records.inspect_records(REMOTE)
    assert verified == "every record and digest verified"
    assert report.startswith(str(tmp_path))
    assert os.path.isfile(report)


def test_the_server_s_address_may_be_a_beam_option(run, server, tmp_path, monkeypatch):
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv(staging.OPTIONS, f"--s3_endpoint_url={server}")
    assert shards(staging.local_folder(REMOTE, str(tmp_path)))
