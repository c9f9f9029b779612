"""The record schema: one tf.train.Example per image, shard names, info.json and fingerprints."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np
import tensorflow as tf

from imcap import text
from imcap.errors import UserError

SCHEMA_VERSION = 1
INFO, VOCABULARY, FAILURES, COMPLETED = "info.json", "vocab.txt", "failures.jsonl", "COMPLETED"
VIEWS = ("features", "features_flip")
# Its optimizer thread can hold up the end of an iterator for seconds (TensorFlow 2.21).
NO_AUTOTUNE = tf.data.Options()
NO_AUTOTUNE.autotune.enabled = False
# Little-endian on every machine, whatever the host's order.
DTYPES = {
    "float16": np.dtype("<f2"),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float32": np.dtype("<f4"),
}


def shard_of(image_id: str, num_shards: int) -> int:
    """Returns an image's shard: the same on every machine and in every Python."""
    digest = hashlib.blake2b(image_id.encode("utf-8"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % num_shards


def shard_name(split: str, shard: int, num_shards: int) -> str:
    """Returns `{split}-00000-of-00016.tfrecord`."""
    return f"{split}-{shard:05d}-of-{num_shards:05d}.tfrecord"


def fingerprint(value: Any) -> str:
    """Returns a hash of anything JSON holds, independent of the order of keys."""
    text_form = json.dumps(value, sort_keys=True, ensure_ascii=True)
    return hashlib.blake2b(text_form.encode(), digest_size=16).hexdigest()


class Digest:
    """A running hash of a shard's records, in their order."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=16)

    def update(self, record: bytes) -> None:
        self._hash.update(len(record).to_bytes(8, "little"))
        self._hash.update(record)

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def serialize(
    image_id: str,
    path: str,
    views: Sequence[np.ndarray],
    captions: Sequence[str],
    tokens: Sequence[np.ndarray],
) -> bytes:
    """Returns one image's Example.

    Args:
      image_id: unique within the data set.
      path: of the photo, below the data set's folder where it lies there.
      views: features [positions, channels] in one of DTYPES, written as raw bytes: of the photo
        and, if there is a second one, of its mirror image.
      captions: the raw strings.
      tokens: per caption its ids, int32 [length], START and END included.
    """
    example = tf.train.Example()
    feature = example.features.feature
    feature["image_id"].bytes_list.value.append(image_id.encode("utf-8"))
    feature["path"].bytes_list.value.append(path.encode("utf-8", "surrogateescape"))
    for key, features in zip(VIEWS, views, strict=False):
        feature[key].bytes_list.value.append(features.tobytes())
    feature["captions"].bytes_list.value.extend(c.encode("utf-8", "ignore") for c in captions)
    feature["caption_lengths"].int64_list.value.extend(len(ids) for ids in tokens)
    for ids in tokens:
        feature["caption_tokens"].int64_list.value.extend(ids.tolist())
    # Map fields have no order of their own; the same record must be the same bytes.
    return example.SerializeToString(deterministic=True)


_CAPTION_TOKENS = tf.io.RaggedFeature(
    tf.int64,
    value_key="caption_tokens",
    partitions=[tf.io.RaggedFeature.RowLengths("caption_lengths")],
    row_splits_dtype=tf.int64,
)


def parse(serialized: tf.Tensor, info: Info, view: str = VIEWS[0]) -> dict[str, tf.Tensor]:
    """Parses a batch of Examples.

    Args:
      serialized: string [batch].
      info: of the folder that they come from.
      view: which of VIEWS the features are of.

    Returns:
      image_id string [batch], path string [batch], captions string ragged [batch, None],
      tokens int32 ragged [batch, captions, None], and features in the records' dtype:
      [batch, positions, channels].
    """
    parsed = tf.io.parse_example(
        serialized,
        {
            "image_id": tf.io.FixedLenFeature([], tf.string),
            "path": tf.io.FixedLenFeature([], tf.string),
            view: tf.io.FixedLenFeature([], tf.string),
            "captions": tf.io.RaggedFeature(tf.string, row_splits_dtype=tf.int64),
            "tokens": _CAPTION_TOKENS,
        },
    )
    flat = tf.io.decode_raw(parsed.pop(view), tf.as_dtype(info.feature_dtype))
    return {
        **parsed,
        "features": tf.reshape(flat, (-1, *info.feature_shape)),
        "tokens": tf.cast(parsed["tokens"], tf.int32),
    }


def parse_lengths(serialized: tf.Tensor) -> tf.Tensor:
    """Returns the length of each image's longest caption: string [batch] to int64 [batch]."""
    spec = {"caption_lengths": tf.io.RaggedFeature(tf.int64, row_splits_dtype=tf.int64)}
    lengths = tf.io.parse_example(serialized, spec)["caption_lengths"]
    return tf.reduce_max(lengths.to_tensor(), axis=1)


@dataclasses.dataclass(frozen=True)
class Info:
    """What a finished records folder says of itself (info.json).

    Attributes:
      splits: per split `shard_lengths`, `shard_bytes` and `shard_digests`, lists by shard, and
        `views`: which of VIEWS its records hold.
      feature_shape: (positions, channels).
      compression: of the shards, empty or GZIP.
      feature_grid: (rows, columns) of the positions.
      counts: images kept, failed and duplicate, and captions.
      problems: what the reader left out: by kind its `count` and the `first` example.
    """

    schema_version: int
    splits: dict[str, dict[str, Any]]
    feature_shape: tuple[int, int]
    feature_grid: tuple[int, int]
    feature_dtype: str
    compression: str
    encoder: dict[str, Any]
    preprocessing: dict[str, Any]
    text: dict[str, Any]
    vocabulary_digest: str
    counts: dict[str, int]
    problems: dict[str, dict[str, Any]]
    versions: dict[str, str]
    dataset: dict[str, Any]

    def num_images(self, split: str) -> int:
        """Returns how many images a split holds; raises UserError if it is not there."""
        if split not in self.splits:
            names = ", ".join(sorted(self.splits))
            raise UserError(f"--split={split} is not in the records, which hold {names}")
        return sum(self.splits[split]["shard_lengths"])


def read_info(folder: str) -> Info:
    """Reads info.json of a finished folder; raises UserError naming what is wrong with it."""
    if not tf.io.gfile.exists(os.path.join(folder, COMPLETED)):
        raise UserError(f"{folder} holds no finished records: run `imcap records` (it continues)")
    path = os.path.join(folder, INFO)
    try:
        content = tf.io.gfile.GFile(path).read()
    except (tf.errors.OpError, UnicodeDecodeError) as error:
        raise _damaged_info(path, error) from error
    return parse_info(content, path)


def parse_info(content: str, path: str) -> Info:
    """Returns the Info that info.json holds; raises UserError naming `path`."""
    try:
        values = json.loads(content)
        version = values["schema_version"]
        if version != SCHEMA_VERSION:
            raise UserError(f"{path} has schema {version}; this imcap reads {SCHEMA_VERSION}")
        for key in ("feature_shape", "feature_grid"):
            values[key] = tuple(values[key])
        return Info(**values)
    except UserError:
        raise
    except (ValueError, TypeError, KeyError) as error:
        raise _damaged_info(path, error) from error


def _damaged_info(path: str, error: Exception) -> UserError:
    return UserError(f"{path} is damaged ({error}); run `imcap records` again")


def read_vocabulary(folder: str) -> list[str]:
    """Reads the lines of a folder's vocab.txt."""
    path = os.path.join(folder, VOCABULARY)
    try:
        return text.parse_vocabulary(tf.io.gfile.GFile(path).read(), path)
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is damaged ({error}); run `imcap records` again") from error
    except tf.errors.OpError as error:
        raise UserError(f"{path} cannot be read: {error.message}") from error


def dataset(paths: Sequence[str], compression: str) -> tf.data.Dataset:
    """Returns the serialized Examples of whole files, string [], in the order of the paths."""
    return tf.data.TFRecordDataset(list(paths), compression).with_options(NO_AUTOTUNE)


def interleave(shards: tf.data.Dataset, compression: str, cycle: int, readers: int):
    """Reads shards in turns, in a fixed order.

    Args:
      shards: a dataset of (path, records to read).
      compression: as info.json has it.
      cycle: shards that take turns.
      readers: shards read at a time.

    Returns:
      A tf.data.Dataset of serialized Examples, string [].
    """
    return shards.interleave(
        lambda path, length: tf.data.TFRecordDataset(path, compression).take(length),
        cycle_length=max(cycle, 1),
        num_parallel_calls=max(min(readers, cycle), 1),
        deterministic=True,
    )


def shards(folder: str, info: Info, split: str) -> list[tuple[str, int]]:
    """Returns path and length of a split's shards that hold images, in order."""
    info.num_images(split)
    lengths = info.splits[split]["shard_lengths"]
    names = [shard_name(split, index, len(lengths)) for index in range(len(lengths))]
    return [(os.path.join(folder, name), n) for name, n in zip(names, lengths, strict=True) if n]


def shard_index(path: str) -> int:
    """Returns a shard's number: 3 for `.../train-00003-of-00016.tfrecord`."""
    return int(os.path.basename(path).split("-")[-3])
