"""What the tests of the records job share: one data set, and the records made of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import landscapes
import pytest
from ml_collections import ConfigDict

from beam_jobs import build_records


@pytest.fixture(scope="session")
def image_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a data set of 24 good images, 16 of them to train on."""
    return landscapes.write_images(tmp_path_factory.mktemp("data") / "images")


@pytest.fixture(scope="session")
def built(image_set: Path, tmp_path_factory: pytest.TempPathFactory) -> ConfigDict:
    """The config of a job that ran through, uninterrupted; its folder must stay unchanged."""
    config = landscapes.make_records_config(
        tmp_path_factory.mktemp("built"), image_set, **landscapes.VIEWS
    )
    build_records.build_records(config)
    return config


@pytest.fixture
def copied_config(built: ConfigDict, image_set: Path, tmp_path: Path) -> Callable[..., ConfigDict]:
    """Makes a config, with changes, of a folder that begins as a copy of the finished one."""
    shutil.copytree(built.records.dir, tmp_path / "records")

    def make(**changes: object) -> ConfigDict:
        return landscapes.make_records_config(
            tmp_path, image_set, **{**landscapes.VIEWS, **changes}
        )

    return make
