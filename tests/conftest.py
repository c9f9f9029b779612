"""What tests share: runs made once with the real jobs, and a browser."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import hypothesis
import pytest
import shared_folders

# TensorFlow and Beam are imported where a fixture needs them: the process that hands out the tests
# to others starts those sooner without.
if TYPE_CHECKING:
    from landscapes import Trained
    from ml_collections import ConfigDict
    from selenium import webdriver

pytest_plugins = ["longest_first", "no_skips", "pytester"]

# The same examples in every run; a busy machine may take any time for one.
hypothesis.settings.register_profile("seeded", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("seeded")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Imports the tests' modules without garbage collections, which later leave out what these have
    imported, and are full ones five times less often: with many graphs one takes half a second."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(700, 10, 50)
        gc.enable()


@pytest.fixture(scope="module", autouse=True)
def collected() -> Iterator[None]:
    """Later garbage collections leave out what is alive after a module: TensorFlow keeps graphs for
    ever, and a collection of all of them, as Streamlit asks for after each run, takes a second."""
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConfigDict]:
    """The config of a run whose records are built: 120 scenes, 2 shards a split."""
    import tiny_runs

    from beam_jobs import build_records

    def make(workdir: Path) -> None:
        build_records.build_records(tiny_runs.tiny_config(workdir))

    with shared_folders.made_once(tmp_path_factory, "tiny", make) as workdir:
        yield tiny_runs.tiny_config(workdir)


@pytest.fixture(scope="session")
def landscape_data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the landscapes' images, encoder and finished records."""
    import landscapes

    from beam_jobs import build_records

    def make(folder: Path) -> None:
        landscapes.write_training_images(folder)
        landscapes.write_encoder(folder / "encoder.keras")
        build_records.build_records(landscapes.make_config(folder, folder))

    with shared_folders.made_once(tmp_path_factory, "landscapes", make) as folder:
        yield folder


@pytest.fixture(scope="session")
def landscape_run(landscape_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The workdir of a captioner that was trained on the landscapes, scored on their dev split and
    exported; `landscapes.make_config(landscape_run, landscape_data)` is its config, but that the
    run has kept the weights of all epochs."""
    import landscapes

    from imcap import evaluate, export, train

    def make(workdir: Path) -> None:
        config = landscapes.make_config(workdir, landscape_data, train__keep_checkpoints="all")
        train.train_and_evaluate(config, str(workdir), "none")
        evaluate.evaluate_split(config, str(workdir), "dev")
        config = landscapes.make_config(workdir, landscape_data)
        export.export_model(config, str(workdir))

    with shared_folders.made_once(tmp_path_factory, "run", make) as workdir:
        yield workdir


@pytest.fixture(scope="session")
def landscape_export(landscape_run: Path) -> Path:
    """The exported model of `landscape_run`: the folder of its version."""
    return landscape_run / "export" / "1"


@pytest.fixture(scope="session")
def trained(landscape_run: Path, landscape_data: Path) -> Trained:
    """What `landscape_run` has learnt; must stay unchanged."""
    import landscapes

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
    import memory_files

    memory_files.FILES.clear()
    yield memory_files.FILES
    memory_files.FILES.clear()


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """A headless Chromium."""
    import browsers

    with browsers.chromium(tmp_path_factory.mktemp("profile")) as started:
        yield started
