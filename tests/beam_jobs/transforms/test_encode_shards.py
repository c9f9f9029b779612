"""Images of all kinds: odd formats are kept, bad ones are counted, logged and tried again."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import landscapes
import numpy as np
import outputs
import pytest
from PIL import Image

from beam_jobs import build_records
from imcap import hashing, records
from imcap.errors import UserError

GOOD = ("bilevel.png", "bitmap.bmp", "cmyk.jpg", "deep.png", "extended.webp", "grey.jpg",
        "moving.gif", "palette.gif", "plain.jpg", "progressive.jpg", "rgba.png", "still.webp",
        "twin.jpg")  # fmt: skip
# Name -> what the reason says.
BAD = {
    "animated.webp": "an animated WebP",
    "cut.jpg": "Invalid JPEG data",
    "cut.png": "PNG",
    "empty.jpg": "an empty file",
    "huge.png": "declares no pixels or more than 100000000",
    "words.jpg": "not a JPEG, PNG, GIF, BMP or WebP image",
}


def write_zoo(folder: Path) -> Path:
    """Writes every kind of image, all with a caption, the good ones to train on."""
    folder.mkdir()
    image = landscapes.draw(0)
    image.save(folder / "plain.jpg")
    image.save(folder / "progressive.jpg", progressive=True)
    shutil.copy(folder / "plain.jpg", folder / "twin.jpg")
    for name, mode in (
        ("grey.jpg", "L"),
        ("cmyk.jpg", "CMYK"),
        ("rgba.png", "RGBA"),
        ("bilevel.png", "1"),
        ("palette.gif", "P"),
        ("bitmap.bmp", "RGB"),
        ("still.webp", "RGB"),
    ):
        image.convert(mode).save(folder / name)
    image.convert("RGBA").save(folder / "extended.webp", exif=Image.Exif())
    Image.fromarray(np.full((30, 40), 40_000, np.uint16)).save(folder / "deep.png")
    frames = [landscapes.draw(seed) for seed in (1, 2)]
    image.save(folder / "moving.gif", save_all=True, append_images=frames)
    image.save(folder / "animated.webp", save_all=True, append_images=frames)
    for name in ("cut.jpg", "cut.png"):
        image.save(folder / name)
        half = (folder / name).read_bytes()[: (folder / name).stat().st_size // 2]
        (folder / name).write_bytes(half)
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "words.jpg").write_text("These words are no image, whatever their name says.")
    Image.new("1", (20_000, 10_000)).save(folder / "huge.png")
    rows = [(name, "train", f"An image called {name}") for name in GOOD]
    landscapes.write_table(folder, rows + [(name, "dev", "A bad image") for name in BAD])
    return folder


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """The config of a finished job on all these images."""
    folder = tmp_path_factory.mktemp("zoo")
    config = landscapes.make_records_config(folder, write_zoo(folder / "data"))
    build_records.build_records(config)
    return config


def test_odd_formats_are_kept_and_duplicates_counted(zoo):
    ids = [outputs.values(e, "image_id") for e in outputs.examples(zoo.records.dir, "train")]
    assert sorted(ids) == [[name.encode()] for name in GOOD]
    counts = {"kept": 13, "failed": 6, "duplicate": 1, "captions": 13}
    assert records.read_info(zoo.records.dir).counts.items() >= counts.items()


def test_bad_images_are_logged_with_path_and_reason(zoo):
    lines = Path(zoo.records.dir, "failures.jsonl").read_text().splitlines()
    failures = {failure["image_id"]: failure for failure in map(json.loads, lines)}
    assert failures.keys() == BAD.keys()
    for name, failure in failures.items():
        assert failure["path"] == os.path.join(zoo.dataset.dir, name)
        assert BAD[name] in failure["reason"] and "\n" not in failure["reason"]


def test_a_split_of_bad_images_is_empty(zoo):
    info = records.read_info(zoo.records.dir)
    assert info.num_images("dev") == 0
    assert outputs.examples(zoo.records.dir, "dev") == []
    with pytest.raises(UserError, match="the records hold no split 'test', only dev,"):
        info.num_images("test")


def test_a_repaired_image_is_encoded_on_the_next_run(zoo, tmp_path):
    shutil.copytree(zoo.dataset.dir, tmp_path / "data")
    shutil.copytree(zoo.records.dir, tmp_path / "records")
    config = landscapes.make_records_config(tmp_path, tmp_path / "data")
    landscapes.draw(3).save(tmp_path / "data" / "cut.jpg")
    before = outputs.identities(config.records.dir)
    build_records.build_records(config)
    info = records.read_info(config.records.dir)
    assert (info.num_images("dev"), info.counts["failed"]) == (1, 5)
    lines = Path(config.records.dir, "failures.jsonl").read_text().splitlines()
    assert [json.loads(line)["image_id"] for line in lines].count("cut.jpg") == 0
    after = outputs.identities(config.records.dir)
    mended = records.shard_name("dev", hashing.stable_number("cut.jpg", 2), 2)
    assert [name for name in before if before[name] != after[name]] == [mended]


def test_no_readable_image_is_an_error(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.jpg").write_text("no image")
    landscapes.write_table(tmp_path / "data", [("a.jpg", "train", "A dog")])
    config = landscapes.make_records_config(tmp_path, tmp_path / "data")
    with pytest.raises(UserError, match=r"no image of .*data could be read; .*failures\.jsonl"):
        build_records.build_records(config)
    (line,) = Path(config.records.dir, "failures.jsonl").read_text().splitlines()
    assert json.loads(line)["image_id"] == "a.jpg"


def test_records_of_another_compute_dtype_do_not_mix(zoo):
    config = zoo.copy_and_resolve_references()
    config.encoder.compute_dtype = "bfloat16"
    with pytest.raises(UserError, match=r"encoder.compute_dtype='float32', now 'bfloat16'"):
        build_records.build_records(config)
