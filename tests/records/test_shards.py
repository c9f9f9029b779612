"""Shards: their names, their digests, and the order in which they are read."""

from __future__ import annotations

import pytest
import tensorflow as tf
from record_infos import make_info

from imcap import records


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
