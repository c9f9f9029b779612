"""Records: the schema, the names that must never change, and refused files."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from refusals import refusal

from imcap import records

POSITIONS, CHANNELS = 6, 4
CAPTIONS = ("A dog runs .", "Zwei Hunde – naß", "")
TOKENS = tuple(np.array(ids, np.int32) for ids in ([2, 4, 5, 6, 3], [2, 1, 1, 1, 3], [2, 3]))
DTYPES = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16, "float32": np.float32}


def make_info(dtype: str = "float32", splits: dict | None = None) -> records.Info:
    return records.Info(
        schema_version=records.SCHEMA_VERSION,
        splits=splits or {},
        feature_shape=(POSITIONS, CHANNELS),
        feature_grid=(2, 3),
        feature_dtype=dtype,
        compression="",
        encoder={},
        preprocessing={},
        text={},
        vocabulary_digest="",
        counts={},
        problems={},
        versions={},
        dataset={},
    )


def make_features(dtype: str = "float32", seed: int = 0) -> np.ndarray:
    features = np.random.default_rng(seed).normal(0, 100, (POSITIONS, CHANNELS))
    return features.astype(records.DTYPES[dtype])


def make_record(dtype: str = "float32", views: int = 1, image_id: str = "1.jpg") -> bytes:
    features = [make_features(dtype, view) for view in range(views)]
    return records.serialize(image_id, f"Images/{image_id}", features, CAPTIONS, TOKENS)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_record_is_read_as_it_was_written(dtype: str) -> None:
    serialized = tf.constant([make_record(dtype), make_record(dtype, image_id="ü 2.jpg")])
    parsed = records.parse(serialized, make_info(dtype))
    assert parsed["image_id"].numpy().tolist() == [b"1.jpg", "ü 2.jpg".encode()]
    assert parsed["path"].numpy().tolist() == [b"Images/1.jpg", "Images/ü 2.jpg".encode()]
    assert parsed["captions"].to_list() == [[c.encode() for c in CAPTIONS]] * 2
    assert parsed["tokens"].dtype == tf.int32
    assert parsed["tokens"].to_list() == [[ids.tolist() for ids in TOKENS]] * 2
    assert parsed["features"].dtype == tf.as_dtype(dtype)
    features = parsed["features"].numpy()
    np.testing.assert_array_equal(features, np.stack([make_features(dtype)] * 2))


@pytest.mark.parametrize("dtype", DTYPES)
def test_features_are_raw_little_endian_bytes_that_numpy_reads(dtype: str) -> None:
    example = tf.train.Example.FromString(make_record(dtype))
    [raw] = example.features.feature["features"].bytes_list.value
    little_endian = np.dtype(DTYPES[dtype]).newbyteorder("<")
    features = np.frombuffer(raw, little_endian).reshape(make_info(dtype).feature_shape)
    np.testing.assert_array_equal(features, make_features(dtype))
    if dtype == "float32":
        assert raw[:4] == int(make_features().view(np.uint32)[0, 0]).to_bytes(4, "little")


def test_each_view_is_read_by_its_name() -> None:
    serialized = tf.constant([make_record(views=2)])
    for number, view in enumerate((records.FEATURES, records.FLIPPED)):
        parsed = records.parse(serialized, make_info(), view)
        assert set(parsed) == {"image_id", "path", "features", "captions", "tokens"}
        np.testing.assert_array_equal(parsed["features"][0], make_features(seed=number))


def test_a_record_of_one_view_has_no_second() -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="features_flip"):
        records.parse(tf.constant([make_record(views=1)]), make_info(), records.FLIPPED)


def test_the_longest_caption_is_read_alone() -> None:
    short = records.serialize("2", "2", [make_features()], CAPTIONS[:1], [TOKENS[2]])
    assert records.parse_longest(tf.constant([make_record(), short])).numpy().tolist() == [5, 2]


def test_a_record_without_captions_can_be_read() -> None:
    serialized = tf.constant([records.serialize("1", "1", [make_features()], [], [])])
    parsed = records.parse(serialized, make_info())
    assert parsed["captions"].to_list() == [[]]
    assert parsed["tokens"].to_list() == [[]]


def test_strings_that_are_no_unicode_are_kept_as_far_as_they_can() -> None:
    path = os.fsdecode(b"Images/\xff.jpg")
    record = records.serialize("1", path, [make_features()], ["a \udcff dog"], [TOKENS[2]])
    parsed = records.parse(tf.constant([record]), make_info())
    assert parsed["path"].numpy().tolist() == [b"Images/\xff.jpg"]
    assert parsed["captions"].to_list() == [[b"a  dog"]]


def test_the_same_record_is_the_same_bytes() -> None:
    record = make_record(views=2)
    assert all(make_record(views=2) == record for _ in range(5))
    feature = tf.train.Example.FromString(record).features.feature
    reordered = tf.train.Example()
    for key in sorted(feature, reverse=True):
        reordered.features.feature[key].CopyFrom(feature[key])
    assert reordered.SerializeToString(deterministic=True) == record


def test_shard_names() -> None:
    assert records.shard_name("train", 0, 16) == "train-00000-of-00016.tfrecord"
    assert records.shard_name("dev", 123, 100_000) == "dev-00123-of-100000.tfrecord"


def test_a_digest_depends_on_where_records_end_and_on_their_order() -> None:
    def digest(*parts: bytes) -> str:
        running = records.Digest()
        for part in parts:
            running.update(part)
        return running.hexdigest()

    assert digest(b"ab", b"c") == digest(b"ab", b"c")
    assert len({digest(), digest(b"abc"), digest(b"ab", b"c"), digest(b"c", b"ab")}) == 4


def write_info(folder: Path, **changes: object) -> Path:
    values = {**dataclasses.asdict(make_info()), **changes}
    (folder / records.COMPLETED).touch()
    (folder / records.INFO).write_text(json.dumps(values), "utf-8")
    return folder / records.INFO


def test_info_is_read_as_it_was_written(tmp_path) -> None:
    write_info(tmp_path)
    info = records.read_info(str(tmp_path))
    assert info == make_info()
    assert info.feature_shape == (POSITIONS, CHANNELS)


def test_a_folder_is_finished_only_with_the_file_completed(tmp_path) -> None:
    write_info(tmp_path)
    (tmp_path / records.COMPLETED).unlink()
    line = refusal(records.read_info, str(tmp_path))
    assert line.startswith(f"{tmp_path} holds no finished records: run `imcap records`")
    assert refusal(records.read_info, str(tmp_path / "none")).startswith(f"{tmp_path / 'none'} ")


def test_another_schema_is_refused_by_its_number(tmp_path) -> None:
    path = write_info(tmp_path, schema_version=99)
    assert refusal(records.read_info, str(tmp_path)) == (
        f"{path} has schema 99; this imcap reads {records.SCHEMA_VERSION}"
    )


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe\x00",
        b'{"schema_version": 1}',
        b'{"schema_version": 1, "feature_shape": 3, "feature_grid": []}',
    ],
)
def test_a_corrupted_info_is_refused_by_path(tmp_path, content: bytes) -> None:
    path = write_info(tmp_path)
    path.write_bytes(content)
    assert refusal(records.read_info, str(tmp_path)).startswith(f"{path} is corrupted (")
    path.unlink()
    assert refusal(records.read_info, str(tmp_path)).startswith(f"{path} is corrupted (")


def test_an_info_with_unknown_fields_is_refused(tmp_path) -> None:
    path = write_info(tmp_path, surprise=1)
    line = refusal(records.read_info, str(tmp_path))
    assert line.startswith(f"{path} is corrupted (")
    assert "surprise" in line


def test_a_missing_split_is_refused_with_those_there() -> None:
    info = make_info(splits={"train": {"shard_lengths": [2, 0, 3]}, "dev": {"shard_lengths": [1]}})
    assert info.num_images("train") == 5
    line = refusal(info.num_images, "test")
    assert line == "the records hold no split 'test', only dev, train"


def test_a_shard_that_ends_too_early_is_an_error(tmp_path) -> None:
    path = str(tmp_path / "shard")
    with tf.io.TFRecordWriter(path) as writer:
        writer.write(b"1")
    shards = tf.data.Dataset.from_tensors((path, tf.constant(2, tf.int64)))
    with pytest.raises(tf.errors.InvalidArgumentError, match="ends too early"):
        list(records.interleave(shards, "", 1, 1))


def test_shards_without_images_are_passed_over() -> None:
    info = make_info(splits={"train": {"shard_lengths": [2, 0, 3]}})
    assert records.shards("r", info, "train") == [
        ("r/train-00000-of-00003.tfrecord", 2),
        ("r/train-00002-of-00003.tfrecord", 3),
    ]


@pytest.mark.parametrize("content", [b"", b"dog\ncat\n", b"\xff\xfe\x00", b"[START]\n[END]\n\xff"])
def test_a_corrupted_vocabulary_is_refused_by_path(tmp_path, content: bytes) -> None:
    path = tmp_path / records.VOCABULARY
    path.write_bytes(content)
    assert refusal(records.read_vocabulary, str(tmp_path)).startswith(f"{path} ")
    path.unlink()
    assert refusal(records.read_vocabulary, str(tmp_path)).startswith(f"{path} cannot be read: ")


@pytest.mark.parametrize("compression", ["", "GZIP"])
def test_shards_are_read_in_order_and_several_at_a_time_take_turns(tmp_path, compression) -> None:
    paths = [str(tmp_path / name) for name in "abc"]
    for path in paths:
        with tf.io.TFRecordWriter(path, compression) as writer:
            for number in (b"1", b"2"):
                writer.write(path[-1].encode() + number)

    def read(cycle: int, length: int) -> list[bytes]:
        shards = tf.data.Dataset.from_tensor_slices(
            (paths, tf.fill([3], tf.cast(length, tf.int64)))
        )
        return list(records.interleave(shards, compression, cycle, 2).as_numpy_iterator())

    in_order = [b"a1", b"a2", b"b1", b"b2", b"c1", b"c2"]
    assert list(records.dataset(paths, compression).as_numpy_iterator()) == in_order
    assert read(1, 2) == in_order
    assert read(2, 2) == [b"a1", b"b1", b"a2", b"b2", b"c1", b"c2"]
    assert read(8, 2) == [b"a1", b"b1", b"c1", b"a2", b"b2", b"c2"]
    assert read(8, 1) == [b"a1", b"b1", b"c1"]
