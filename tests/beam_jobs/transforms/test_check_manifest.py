"""Checks of the manifest that are made before any image is encoded."""

from __future__ import annotations

import shutil
from pathlib import Path

import landscapes
import pytest

from beam_jobs import build_records
from imcap.errors import UserError


def without_train(folder: Path) -> Path:
    """Writes a data set of six images, none of which is to train on."""
    folder.mkdir()
    rows = []
    for number in range(6):
        landscapes.draw(number).save(folder / f"{number}.jpg")
        rows.append((f"{number}.jpg", "test" if number % 2 else "dev", "A red sky."))
    landscapes.write_table(folder, rows)
    return folder


@pytest.mark.parametrize("num_shards", [0, 1])
def test_a_missing_train_split_is_refused_before_the_encoder(tmp_path, num_shards):
    data = without_train(tmp_path / "data")
    config = landscapes.make_records_config(tmp_path, data, records__num_shards=num_shards)
    for start in (build_records.build_records, build_records.dry_run):
        with pytest.raises(UserError, match=r"^no image is in the split train \(dev 3, test 3\): "):
            start(config)
    assert not list(tmp_path.rglob("*.tfrecord"))


def test_a_given_vocabulary_needs_no_train_split(tmp_path):
    (tmp_path / "vocab.txt").write_text("[START]\n[END]\nsky\n")
    config = landscapes.make_records_config(
        tmp_path,
        without_train(tmp_path / "data"),
        text__vocabulary=str(tmp_path / "vocab.txt"),
        records__num_shards=1,
    )
    info = build_records.build_records(config)
    assert {split: info.num_images(split) for split in info.splits} == {"dev": 3, "test": 3}


def test_a_missing_dev_split_is_warned_of(image_set, tmp_path, caplog):
    rows = [("00.jpg", "train", "A red sky."), ("01.jpg", "test", "A blue sky.")]
    shutil.copytree(image_set, tmp_path / "data")
    landscapes.write_table(tmp_path / "data", rows)
    config = landscapes.make_records_config(tmp_path, tmp_path / "data", records__num_shards=1)
    build_records.build_records(config)
    warning = "no image is in the split dev (test 1, train 1): training will not score captions"
    assert [warning in message for message in caplog.messages].count(True) == 1
    caplog.clear()
    build_records.dry_run(config)
    assert warning in caplog.text
