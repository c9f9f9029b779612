"""TFRecord files of images and captions."""

from __future__ import annotations

import embedded_files
import pytest
import tensorflow as tf
from embedded_files import Sample

from imcap import filesystem
from imcap.errors import UserError

SAMPLES = [
    Sample(f"{number}.jpg", bytes([number]) * (30 + number), ["One", f"Number {number}"])
    for number in range(6)
]
COLUMNS = {"image": "jpg", "id": "key", "split": "part"}


def test_examples_are_images_with_captions(read, tmp_path):
    embedded_files.write_tfrecords(tmp_path / "00000.tfrecord", SAMPLES[:4])
    embedded_files.write_tfrecords(tmp_path / "00001.tfrecord", SAMPLES[4:])
    images, problems = read("tfrecord", columns=COLUMNS)
    assert [(i.image_id, i.captions, i.split) for i in images] == [
        (s.name, tuple(s.captions), "train") for s in SAMPLES
    ]
    assert [filesystem.read_image(i.path) for i in images] == [s.content for s in SAMPLES]
    assert problems.lines() == []


def test_images_without_an_id_are_called_by_file_and_record(read, tmp_path):
    embedded_files.write_tfrecords(tmp_path / "train/x.tfrecord", SAMPLES[:2])
    embedded_files.write_tfrecords(tmp_path / "val/x.tfrecord", SAMPLES[2:3])
    images, _ = read("tfrecord", columns={"image": "jpg"})
    assert [(image.image_id, image.split) for image in images] == [
        ("train/x.tfrecord/1", "train"),
        ("train/x.tfrecord/2", "train"),
        ("val/x.tfrecord/1", "dev"),
    ]


def test_what_is_left_out_is_counted_by_kind(read, tmp_path):
    with tf.io.TFRecordWriter(str(tmp_path / "x.tfrecord")) as writer:
        for values in (
            {"image": [b"a"], "caption": [b"Hi"]},
            {"image": [], "caption": [b"No image"]},
            {"image": [b"c"]},
        ):
            writer.write(embedded_files.example(values))
        writer.write(b"no Example")
        writer.write(b"")
    images, problems = read("tfrecord")
    assert [image.image_id for image in images] == ["x.tfrecord/1"]
    assert problems.counts == {
        "missing images": 1,
        "empty captions": 1,
        "images without captions": 1,
        "records that are no tf.train.Example": 2,
    }
    assert problems.first["missing images"] == f"x.tfrecord/2, {tmp_path}/x.tfrecord, record 2"


def test_a_feature_that_is_not_there_is_refused_naming_those_that_are(read, tmp_path):
    embedded_files.write_tfrecords(tmp_path / "x.tfrecord", SAMPLES)
    with pytest.raises(UserError, match=r"no column 'image' among 'caption', 'jpg', 'key', 'part'"):
        read("tfrecord")


@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_a_damaged_file_gives_what_is_before_the_damage(read, tmp_path, damage):
    path = tmp_path / "x.tfrecord"
    embedded_files.write_tfrecords(path, SAMPLES)
    content = bytearray(path.read_bytes())
    place = content.index(SAMPLES[3].content)
    content[place] ^= 255
    path.write_bytes(content if damage == "changed" else content[:place])
    images, problems = read("tfrecord", columns=COLUMNS)
    assert [image.image_id for image in images] == ["0.jpg", "1.jpg", "2.jpg"]
    assert problems.first["TFRecord files that end too early"].startswith(f"{path}, byte ")


def test_what_is_no_tfrecord_file_is_refused_in_one_line(read, make):
    make({"x.tfrecord": b"no record " * 10})
    with pytest.raises(UserError, match=r"x\.tfrecord: not a TFRecord file that can be read"):
        read("tfrecord")
