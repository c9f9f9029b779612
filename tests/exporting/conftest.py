"""What the tests of ready models share: one, its encoder's file, and images."""

from __future__ import annotations

from pathlib import Path

import pytest

from imcap import export


@pytest.fixture(scope="session")
def folder(landscape_run, trained, tmp_path_factory) -> Path:
    """A ready model of the landscapes' run."""
    path = tmp_path_factory.mktemp("ready") / "landscapes"
    export.write_ready_model(trained.config, str(landscape_run), str(path))
    return path


@pytest.fixture(scope="session")
def encoder(landscape_data) -> str:
    return str(landscape_data / "encoder.keras")


@pytest.fixture(scope="session")
def images(landscape_data) -> list[bytes]:
    return [path.read_bytes() for path in sorted(landscape_data.glob("*.jpg"))[45:]]
