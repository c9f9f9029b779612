"""What would give other captions than the evaluation's is not exported."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import landscapes
import pytest
from refusals import refusal

from imcap import export
from imcap.errors import UserError


@pytest.fixture
def versions(landscape_export: Path) -> Path:
    """The folder of a run's exported versions."""
    return landscape_export.parent


def test_other_weights_than_the_records_are_refused(
    tmp_path, versions, landscape_run, landscape_data
):
    other = tmp_path / "encoder.keras"
    landscapes.write_encoder(other, seed=1)
    config = landscapes.make_config(landscape_run, landscape_data, encoder__name=str(other))
    before = sorted(os.listdir(versions))
    with pytest.raises(UserError, match="weights with digest") as caught:
        export.export_model(config, str(landscape_run))
    assert str(landscape_data / "records") in str(caught.value)
    assert sorted(os.listdir(versions)) == before


def test_untrained_run_is_refused(tmp_path, landscape_data):
    with pytest.raises(UserError, match="holds no checkpoint"):
        export.export_model(landscapes.make_config(tmp_path, landscape_data), str(tmp_path))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("image_size", 48),
        ("layer", "average_pooling2d"),
        ("pooling", "avg"),
        ("max_pixels", 1000),
        ("compute_dtype", "bfloat16"),
    ],
)
def test_other_features_than_the_records_are_refused(
    versions, landscape_run, landscape_data, setting, value
):
    config = landscapes.make_config(landscape_run, landscape_data, **{f"encoder__{setting}": value})
    before = sorted(os.listdir(versions))
    line = refusal(export.export_model, config, str(landscape_run))
    assert f"config.encoder has {setting}={value!r}" in line
    assert sorted(os.listdir(versions)) == before


def test_other_vocabulary_of_the_same_size_is_refused(tmp_path, landscape_run, landscape_data):
    shutil.copytree(landscape_data / "records", tmp_path / "records")
    path = landscapes.reverse_vocabulary(tmp_path / "records", update_info=False)
    config = landscapes.make_config(
        landscape_run, landscape_data, records__dir=str(tmp_path / "records")
    )
    line = refusal(export.export_model, config, str(landscape_run))
    assert line.startswith(f"{path} is not the vocabulary")
