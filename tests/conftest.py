"""What tests share: runs made once with the real jobs, and a browser."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import browsers
import hypothesis
import landscapes
import memory_files
import pytest
import tiny_runs
from ml_collections import ConfigDict
from selenium import webdriver

pytest_plugins = ["longest_first", "no_skips", "pytester"]

# The same examples in every run; a busy machine may take any time for one.
hypothesis.settings.register_profile("seeded", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("seeded")


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> ConfigDict:
    """The config of a run whose records are built: 120 scenes, 2 shards a split."""
    from beam_jobs import build_records

    workdir = tmp_path_factory.mktemp("tiny")
    config = tiny_runs.tiny_config(workdir)
    build_records.build_records(config)
    return config


@pytest.fixture(scope="session")
def landscape_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the landscapes' images, encoder and finished records."""
    from beam_jobs import build_records

    folder = tmp_path_factory.mktemp("landscapes")
    landscapes.write_training_images(folder)
    landscapes.write_encoder(folder / "encoder.keras")
    build_records.build_records(landscapes.make_config(folder, folder))
    return folder


@pytest.fixture(scope="session")
def landscape_run(landscape_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workdir of a captioner that was trained on the landscapes and scored on their dev split;
    `landscapes.make_config(landscape_run, landscape_data)` is its config, but that the run has kept
    the weights of all epochs."""
    from imcap import evaluate, train

    workdir = tmp_path_factory.mktemp("run")
    config = landscapes.make_config(workdir, landscape_data, train__keep_checkpoints="all")
    train.train_and_evaluate(config, str(workdir), "none")
    evaluate.evaluate_split(config, str(workdir), "dev")
    return workdir


@pytest.fixture(scope="session")
def trained(landscape_run: Path, landscape_data: Path) -> landscapes.Trained:
    """What `landscape_run` has learnt; must stay unchanged."""
    return landscapes.load_trained(landscape_run, landscape_data)


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """Returns a function that returns the lines that imcap has logged so far.

    Other libraries may log what earlier tests have left to them.
    """
    caplog.set_level("INFO", "absl")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "absl"]


@pytest.fixture
def bucket() -> Iterator[dict[str, bytes]]:
    """The files by path of the buckets `memory://…`, which are empty at first."""
    memory_files.FILES.clear()
    yield memory_files.FILES
    memory_files.FILES.clear()


@pytest.fixture(scope="session")
def landscape_export(landscape_run: Path, trained: landscapes.Trained) -> Path:
    """The exported model of `landscape_run`: the folder of its version."""
    from imcap import export

    return Path(export.export_model(trained.config, str(landscape_run)))


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """A headless Chromium."""
    with browsers.chromium(tmp_path_factory.mktemp("profile")) as started:
        yield started
