"""Attention weights, the features they need, and the plots of them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from imcap import input_pipeline, records
from imcap.reports import attention_maps


@pytest.fixture(scope="module")
def batch(trained):
    (whole,) = input_pipeline.eval_dataset(
        trained.config.records.dir, trained.info, "dev", batch_size=100
    )
    return whole


def test_features_of_single_images_are_those_of_the_split(trained, batch):
    found = attention_maps.read_features(trained.config.records.dir, trained.info, "dev", {0, 3, 8})
    assert sorted(found) == [0, 3, 8]
    for position, features in found.items():
        np.testing.assert_array_equal(features, batch["features"][position])


def test_only_the_shards_of_the_images_are_read(tmp_path, trained, batch):
    shutil.copytree(trained.config.records.dir, tmp_path / "records")
    (_, length), (second, _) = records.shards(str(tmp_path / "records"), trained.info, "dev")
    os.unlink(second)
    found = attention_maps.read_features(
        str(tmp_path / "records"), trained.info, "dev", {length - 1}
    )
    np.testing.assert_array_equal(found[length - 1], batch["features"][length - 1])


def test_unreadable_images_and_empty_captions_are_skipped_and_earlier_maps_removed(
    tmp_path, trained, batch
):
    path = records.image_path(batch["path"][0].numpy(), trained.config.dataset.dir)
    samples = [
        attention_maps.Sample("a/0.jpg", path, batch["features"][0], "a red sky"),
        attention_maps.Sample("b/0.jpg", path, batch["features"][0], "a sky"),
        attention_maps.Sample("empty.jpg", path, batch["features"][0], ""),
        attention_maps.Sample("gone.jpg", str(tmp_path / "gone"), batch["features"][0], "a sky"),
    ]
    folder = str(tmp_path / "attention")
    os.mkdir(folder)
    Path(folder, "earlier.jpg.png").touch()
    written = attention_maps.write_attention_maps(
        folder, trained.decoder, trained.tokenizer, trained.info.feature_grid, samples
    )
    names = ["0-0.jpg.png", "1-0.jpg.png"]  # Of one name in two folders.
    assert written == {
        image_id: os.path.join(folder, name)
        for image_id, name in zip(("a/0.jpg", "b/0.jpg"), names, strict=True)
    }
    assert sorted(os.listdir(folder)) == names
