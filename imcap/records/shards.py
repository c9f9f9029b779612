"""Shards: which image belongs to which, what they are called, and reading them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence

import tensorflow as tf

from imcap.records.info import Info

# tf.data's autotuning thread can delay the end of an iterator by seconds (TensorFlow 2.21).
NO_AUTOTUNE = tf.data.Options()
NO_AUTOTUNE.autotune.enabled = False


def shard_name(split: str, shard: int, num_shards: int) -> str:
    """Returns `{split}-00000-of-00016.tfrecord`."""
    return f"{split}-{shard:05d}-of-{num_shards:05d}.tfrecord"


class Digest:
    """A running hash of a shard's records, in their order."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=16)

    def update(self, record: bytes) -> None:
        """Adds a serialized Example."""
        self._hash.update(len(record).to_bytes(8, "little"))
        self._hash.update(record)

    def hexdigest(self) -> str:
        """Returns the hash of the records so far."""
        return self._hash.hexdigest()


def dataset(paths: Sequence[str], compression: str) -> tf.data.Dataset:
    """Returns the serialized Examples of whole files, string [], in the order of the paths."""
    return tf.data.TFRecordDataset(list(paths), compression).with_options(NO_AUTOTUNE)


def read_digest(path: str, compression: str) -> tuple[str, int]:
    """Returns the digest and the number of a shard's records.

    Raises:
      tf.errors.OpError: the file cannot be read, or is corrupted.
    """
    digest, count = Digest(), 0
    for record in dataset([path], compression).as_numpy_iterator():
        digest.update(record)
        count += 1
    return digest.hexdigest(), count


def interleave(
    shards: tf.data.Dataset, compression: str, cycle: int, readers: int
) -> tf.data.Dataset:
    """Reads shards in turns, in a fixed order.

    Reading fails with tf.errors.InvalidArgumentError where a shard holds fewer records.

    Args:
      shards: a dataset of (path, records to read).
      compression: as info.json has it.
      cycle: shards that take turns.
      readers: shards read at a time.

    Returns:
      A tf.data.Dataset of serialized Examples, string [].
    """

    @tf.autograph.experimental.do_not_convert
    def first_records(path: tf.Tensor, length: tf.Tensor) -> tf.data.Dataset:
        return _first_records(path, length, compression)

    return shards.interleave(
        first_records,
        cycle_length=max(cycle, 1),
        num_parallel_calls=max(min(readers, cycle), 1),
        deterministic=True,
    )


def _first_records(path: tf.Tensor, length: tf.Tensor, compression: str) -> tf.data.Dataset:
    # A file that was cut off between two records ends like any other.
    end = tf.data.Dataset.from_tensors(path).map(_fail_at_end)
    return tf.data.TFRecordDataset(path, compression).concatenate(end).take(length)


def _fail_at_end(path: tf.Tensor) -> tf.Tensor:
    with tf.control_dependencies([tf.debugging.Assert(False, [path, "ends too early"])]):
        return tf.identity(path)


def shards(folder: str, info: Info, split: str) -> list[tuple[str, int]]:
    """Returns path and length of a split's shards that hold images, in order."""
    info.require_split(split)
    lengths = info.splits[split]["shard_lengths"]
    names = [shard_name(split, index, len(lengths)) for index in range(len(lengths))]
    return [(os.path.join(folder, name), n) for name, n in zip(names, lengths, strict=True) if n]


def shard_index(path: str) -> int:
    """Returns a shard's number: 3 for `.../train-00003-of-00016.tfrecord`."""
    return int(os.path.basename(path).split("-")[-3])
