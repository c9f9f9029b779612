"""Images in a column of Parquet files."""

from __future__ import annotations

import embedded_files
import pyarrow
import pytest
from embedded_files import Sample
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from imcap import filesystem
from imcap.errors import UserError

CONTENTS = [bytes([number]) * (50 + number % 7) for number in range(100)]
SAMPLES = [Sample(f"{number:02d}.jpg", c) for number, c in enumerate(CONTENTS)]
IMG2DATASET = {"image": "jpg", "id": "key", "split": "part"}


def contents(images) -> list[bytes]:
    return [filesystem.read_image(image.path) for image in images]


# `datasets` stores images as they are since version 4, pyarrow's default is a dictionary in snappy.
@pytest.mark.parametrize("compression", ["none", "snappy"])
@pytest.mark.parametrize("dictionary", [True, False])
def test_structs_of_bytes_and_path_are_images(read, tmp_path, compression, dictionary):
    for number in range(2):
        embedded_files.write_hugging_face(
            tmp_path / f"{number}.parquet",
            SAMPLES[50 * number :][:50],
            row_group_size=20,
            compression=compression,
            use_dictionary=dictionary,
        )
    images, problems = read("table", captions="*.parquet")
    assert [image.image_id for image in images] == [sample.name for sample in SAMPLES]
    assert contents(images) == CONTENTS
    assert problems.lines() == []
    # Images that are stored as they are need no unpacking.
    assert all(("/image:" in image.path) == (compression == "snappy") for image in images)


def test_columns_of_binaries_are_images_and_null_is_a_missing_one(read, tmp_path):
    samples = [*SAMPLES[:3], Sample("gone", None), *SAMPLES[4:6]]
    embedded_files.write_img2dataset(tmp_path / "00000.parquet", samples, compression="zstd")
    images, problems = read("table", columns=IMG2DATASET)
    assert [image.image_id for image in images] == [s.name for s in samples if s.content]
    assert contents(images) == [s.content for s in samples if s.content]
    assert problems.first == {"missing images": f"gone, {tmp_path}/00000.parquet, row 4"}


def test_images_without_a_name_are_called_by_file_and_row(read, make, tmp_path):
    make({"data/empty": b""})
    rows = [{"image": content, "caption": "Hi"} for content in CONTENTS[:3]]
    for name in ("a", "b"):
        parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / f"data/{name}.parquet")
    images, _ = read("table", captions="data/*.parquet")
    assert [i.image_id for i in images][2:4] == ["data/a.parquet/3", "data/b.parquet/1"]


def test_structs_without_bytes_are_paths(read, make, tmp_path):
    make(images=["00.jpg"])
    embedded_files.write_hugging_face(tmp_path / "x.parquet", [Sample("00.jpg", None)])
    images, _ = read("table")
    assert [image.path for image in images] == [f"{tmp_path}/00.jpg"]
    embedded_files.write_hugging_face(tmp_path / "x.parquet", [*SAMPLES[:1], Sample("x", None)])
    _, problems = read("table")
    assert problems.first["missing images"].startswith(f"x (tried {tmp_path}/x), ")


def test_an_image_with_a_row_for_each_caption_keeps_all(read, tmp_path):
    rows = [Sample("a.jpg", CONTENTS[1], [text]) for text in ("One", "Two")]
    other = Sample("a.jpg", CONTENTS[2] + b"longer", ["Other"])
    embedded_files.write_hugging_face(tmp_path / "x.parquet", [*rows, other])
    images, problems = read("table")
    assert [(image.image_id, image.captions) for image in images] == [("a.jpg", ("One", "Two"))]
    assert problems.counts == {"rows that give an id another image or split": 1}


@pytest.mark.parametrize("names", ["{0}-00000-of-00001", "{0}/0000", "default/{0}/0000"])
def test_the_files_names_split(read, tmp_path, names):
    for split in ("train", "validation", "test"):
        embedded_files.write_hugging_face(
            tmp_path / f"{names.format(split)}.parquet", [Sample(f"{split}.jpg", b"x")]
        )
    images, _ = read("table", captions=f"{names.format('*')}.parquet")
    splits = {image.image_id: image.split for image in images}
    assert splits == {"train.jpg": "train", "validation.jpg": "dev", "test.jpg": "test"}


def test_a_single_file_is_split_by_ratio_whatever_its_name(read, tmp_path):
    embedded_files.write_hugging_face(tmp_path / "train.parquet", SAMPLES[:2])
    images, _ = read("table", ratios=(0.0, 1.0, 0.0))
    assert {image.split for image in images} == {"dev"}


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_files_are_read_or_a_user_error(read, tmp_path, data):
    path = tmp_path / "x.parquet"
    compression = data.draw(st.sampled_from(["none", "snappy"]))
    embedded_files.write_hugging_face(path, SAMPLES[:5], compression=compression)
    damaged = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(damaged) - 1), max_size=3)):
        damaged[place] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(damaged[: data.draw(st.sampled_from([None, 40, -1]))])
    try:
        contents(read("table")[0])
    except UserError as error:
        assert "x.parquet" in str(error)
        assert "\n" not in str(error)
