"""Records of images within other files are those of the image files."""

from __future__ import annotations

import json
from pathlib import Path

import embedded_files
import interrupted_jobs
import landscapes
import outputs
import pytest
import tensorflow as tf

from beam_jobs import build_records, records_folder
from imcap import filesystem, records

IMG2DATASET = {"image": "jpg", "id": "key", "split": "part"}


def write_parquet(folder: Path, samples) -> dict[str, object]:
    for number in range(2):
        path = folder / f"{number}.parquet"
        embedded_files.write_hugging_face(path, samples[number::2], row_group_size=5)
    return {"dataset__captions": "*.parquet"}


def write_webdataset(folder: Path, samples) -> dict[str, object]:
    for number in range(3):
        embedded_files.write_webdataset(folder / f"{number:05d}.tar", samples[8 * number :][:8])
    return {"dataset__name": "webdataset"}


def write_tfrecords(folder: Path, samples) -> dict[str, object]:
    embedded_files.write_tfrecords(folder / "00000.tfrecord", samples)
    columns = {f"dataset__columns__{key}": value for key, value in IMG2DATASET.items()}
    return {"dataset__name": "tfrecord", **columns}


def without_path(example: tf.train.Example) -> bytes:
    """Returns an example's bytes but for the image's path."""
    del example.features.feature["path"]
    return example.SerializeToString(deterministic=True)


@pytest.mark.parametrize("write", [write_parquet, write_webdataset, write_tfrecords])
def test_records_are_those_of_the_image_files(write, built, image_set, tmp_path):
    folder = tmp_path / "data"
    changes = write(folder, embedded_files.samples_of(image_set))
    config = landscapes.make_records_config(tmp_path, folder, **landscapes.VIEWS, **changes)
    build_records.build_records(config)
    for split in landscapes.SPLITS:
        found = outputs.examples(config.records.dir, split)
        for example in found:
            path = outputs.values(example, "path")[0]
            name = outputs.values(example, "image_id")[0].decode()
            image = filesystem.read_image(records.image_path(path, str(folder)))
            assert image == (image_set / name).read_bytes()
        expected = outputs.examples(built.records.dir, split)
        assert list(map(without_path, found)) == list(map(without_path, expected))
    names = outputs.contents(built.records.dir).keys()
    assert outputs.contents(config.records.dir).keys() == names  # Nothing unpacked is left.


def test_a_killed_job_continues_with_what_it_has_unpacked(built, image_set, tmp_path):
    folder = tmp_path / "data"
    changes = write_parquet(folder, embedded_files.samples_of(image_set))
    config = landscapes.make_records_config(tmp_path, folder, **landscapes.VIEWS, **changes)
    interrupted_jobs.kill_after(config, shards=2)
    finished = outputs.identities(config.records.dir)
    assert len(finished) == 2
    assert list(Path(records_folder.unpacked_images(config.records.dir)).iterdir())
    build_records.build_records(config)
    assert outputs.identities(config.records.dir).items() >= finished.items()
    for split in landscapes.SPLITS:
        found, expected = (
            list(map(without_path, outputs.examples(made.records.dir, split)))
            for made in (config, built)
        )
        assert found == expected
    names = outputs.contents(built.records.dir).keys()
    assert outputs.contents(config.records.dir).keys() == names  # Nothing unpacked is left.


def test_broken_and_equal_images_in_a_tar_are_told_and_a_second_run_does_nothing(tmp_path):
    samples = embedded_files.samples_of(landscapes.write_images(tmp_path / "images"))
    samples[3] = samples[3]._replace(content=b"no image")
    samples[20] = samples[20]._replace(content=samples[0].content)
    changes = write_webdataset(tmp_path / "data", samples)
    config = landscapes.make_records_config(tmp_path, tmp_path / "data", **changes)
    info = build_records.build_records(config)
    assert info.counts == {"kept": 22, "failed": 1, "duplicate": 1, "captions": 44}
    (failure,) = map(
        json.loads, Path(config.records.dir, "failures.jsonl").read_text().splitlines()
    )
    assert failure["image_id"] == "03.jpg"
    assert failure["path"].startswith(f"{tmp_path}/data/00000.tar#")
    assert failure["reason"]
    before = outputs.identities(config.records.dir)
    build_records.build_records(config)
    assert outputs.identities(config.records.dir) == before


def test_only_what_was_unpacked_is_removed(tmp_path):
    unpacked = Path(records_folder.unpacked_images(str(tmp_path)))
    unpacked.mkdir()
    names = (f"a{filesystem.UNPACKED}", f"{filesystem.TEMPORARY}b{filesystem.UNPACKED}", "own.jpg")
    for name in names:
        (unpacked / name).write_bytes(b"image")
    records_folder.remove_unpacked_images(str(tmp_path))
    assert [path.name for path in unpacked.iterdir()] == ["own.jpg"]
    (unpacked / "own.jpg").unlink()
    records_folder.remove_unpacked_images(str(tmp_path))
    assert not unpacked.exists()
