"""A split's images, or the tokens of its captions alone, in the records' order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from imcap import records
from imcap.input_pipeline import batches

_COUNTED = 64  # Records whose tokens alone are read at a time.


def eval_dataset(
    folder: str,
    info: records.Info,
    split: str,
    *,
    batch_size: int,
    start: int = 0,
    limit: int = 0,
    keys: Sequence[str] = (records.FEATURES,),
) -> tf.data.Dataset:
    """Returns a split's batches in the records' order, the last one smaller; they also hold
    `captions`, the raw strings, ragged [batch, None], and `path`, string [batch].

    Only up to `limit` images (0: all), from image `start` on, counted from 0. Features are those of
    `keys`, all positions of one after those of the other.
    """

    @tf.autograph.experimental.do_not_convert
    def parse(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
        return batches.finish(_parse_views(serialized, info, keys), keep_text=True)

    shards = batches.as_dataset(records.shards(folder, info, split))
    dataset = (
        records.interleave(shards, info.compression, cycle=1, readers=1)
        .skip(start)
        .take(limit or -1)
        .batch(batch_size)
        .map(parse, num_parallel_calls=batches.PARALLEL, deterministic=True)
    )
    return dataset.prefetch(batches.PREFETCH).with_options(records.NO_AUTOTUNE)


def _parse_views(
    serialized: tf.Tensor, info: records.Info, keys: Sequence[str]
) -> dict[str, tf.Tensor]:
    views = [records.parse(serialized, info, key) for key in keys]
    return views[0] | {"features": tf.concat([view["features"] for view in views], axis=1)}


def count_tokens(folder: str, info: records.Info, split: str) -> np.ndarray:
    """Returns how often each token id occurs in a split's captions, int64 [vocabulary_size].

    All shards of the split are read once.

    Raises:
      tf.errors.OpError: a shard cannot be read (records.corruption).
    """
    tokens = _serialized_batches(folder, info, split).map(records.parse_tokens)
    size = info.text["vocabulary_size"]
    counts = np.zeros(size, np.int64)
    for batch in tokens.with_options(records.NO_AUTOTUNE).as_numpy_iterator():
        counts += np.bincount(batch, minlength=size)
    return counts


def read_tokens(folder: str, info: records.Info, split: str) -> Iterator[np.ndarray]:
    """Yields the token ids of a split's captions, int32 [images, captions, length], as batches
    have them, but without features.

    Raises:
      tf.errors.OpError: a shard cannot be read (records.corruption).
    """
    tokens = _serialized_batches(folder, info, split).map(records.parse_captions)
    yield from tokens.with_options(records.NO_AUTOTUNE).as_numpy_iterator()


def _serialized_batches(folder: str, info: records.Info, split: str) -> tf.data.Dataset:
    """Returns a split's records in their order, string [batch]."""
    shards = batches.as_dataset(records.shards(folder, info, split))
    return records.interleave(shards, info.compression, cycle=1, readers=1).batch(_COUNTED)
