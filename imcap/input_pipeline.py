"""tf.data from records to batches: features once per image, with a captions axis.

A batch is a dict of
  image_id: string [batch];
  features: the records' dtype [batch, positions, channels];
  tokens: int32 [batch, captions, length], START first, 0 where a caption or the list ends.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from imcap import records
from imcap.errors import UserError

_PREFETCH = 4  # Batches.
_PARALLEL = os.cpu_count() or 1
# Lengths are padded up to a multiple of this, so that a graph sees few different shapes.
_LENGTH_STEP = 4
# Batches of similar length are formed within this many batches of the shuffled stream.
_WINDOW = 16
_COUNTED = 64  # Records whose tokens alone are read at a time.


def train_dataset(
    folder: str,
    info: records.Info,
    *,
    batch_size: int,
    shuffle_buffer: int,
    seed: int,
    step: int,
    readers: int = 2,
) -> tf.data.Dataset:
    """Returns endless training batches from any step on: their order is that of the seed alone.

    Args:
      folder: the records folder.
      info: its info.json.
      batch_size: images in a (global) batch; less than one batch left over is dropped.
      shuffle_buffer: images.
      seed: decides the order of every epoch.
      step: batches already seen; the stream goes on after them.
      readers: shards read at a time; it does not change the order.

    Raises:
      UserError: there is no training image.
      tf.errors.OpError: while iterating, for a shard that cannot be read (records.corruption).
    """
    per_epoch = steps_per_epoch(info, batch_size)
    batch_size = min(batch_size, info.num_images("train"))
    shards = records.shards(folder, info, "train")

    def epoch(number: tf.Tensor) -> tf.data.Dataset:
        # A shuffle combines its own seed with the one of its graph, which is by default the seed
        # of the process: any constant makes batches independent of it. This sets no other graph's.
        tf.random.set_seed(1)
        batches = _epoch_batches(
            shards, batch_size, shuffle_buffer, seed, number, readers, info.compression
        )
        # Batches already seen are skipped before the costly parsing.
        seen = tf.where(number == step // per_epoch, step % per_epoch, 0)
        return batches.take(per_epoch).skip(tf.cast(seen, tf.int64))

    def parse(serialized: tf.Tensor, flip: tf.Tensor) -> dict[str, tf.Tensor]:
        return _finish(_parse_view(serialized, info, flip))

    epochs = tf.data.Dataset.range(step // per_epoch, tf.int64.max)
    dataset = epochs.flat_map(epoch)
    dataset = dataset.map(parse, num_parallel_calls=_PARALLEL, deterministic=True)
    return dataset.prefetch(_PREFETCH).with_options(records.NO_AUTOTUNE)


def steps_per_epoch(info: records.Info, batch_size: int) -> int:
    """Returns the training batches of an epoch; raises UserError if there is no image."""
    images = info.num_images("train") if "train" in info.splits else 0
    if not images:
        raise UserError("the records hold no training image: build some with a `train` split")
    return max(images // batch_size, 1)


def eval_dataset(
    folder: str, info: records.Info, split: str, *, batch_size: int, start: int = 0, limit: int = 0
) -> tf.data.Dataset:
    """Returns a split's batches in the records' order, the last one smaller; they also hold
    `captions`, the raw strings, ragged [batch, None], and `path`, string [batch].

    Only up to `limit` images (0: all), from image `start` on, counted from 0.
    """
    shards = _as_dataset(records.shards(folder, info, split))
    dataset = (
        records.interleave(shards, info.compression, cycle=1, readers=1)
        .skip(start)
        .take(limit or -1)
        .batch(batch_size)
        .map(
            lambda serialized: _finish(records.parse(serialized, info), keep_text=True),
            num_parallel_calls=_PARALLEL,
            deterministic=True,
        )
    )
    return dataset.prefetch(_PREFETCH).with_options(records.NO_AUTOTUNE)


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
    shards = _as_dataset(records.shards(folder, info, split))
    return records.interleave(shards, info.compression, cycle=1, readers=1).batch(_COUNTED)


def _epoch_batches(
    shards: list[tuple[str, int]],
    batch_size: int,
    shuffle_buffer: int,
    seed: int,
    epoch: tf.Tensor,
    readers: int,
    compression: str,
) -> tf.data.Dataset:
    """One epoch's batches of serialized records, string [batch_size], with a flip flag each."""
    epoch_seed = tf.cast(seed, tf.int64) * 1_000_003 + epoch
    order = _as_dataset(shards).shuffle(len(shards), seed=epoch_seed)
    examples = records.interleave(order, compression, min(len(shards), 16), readers)
    windows = examples.shuffle(shuffle_buffer, seed=epoch_seed).batch(batch_size * _WINDOW)
    batches = windows.enumerate().flat_map(
        lambda number, window: tf.data.Dataset.from_tensor_slices(
            _sorted_batches(window, batch_size, tf.stack([epoch_seed, number]))
        )
    )
    return batches.enumerate().map(
        lambda number, batch: (batch, _is_flipped(tf.stack([epoch_seed, -1 - number])))
    )


def _as_dataset(shards: list[tuple[str, int]]) -> tf.data.Dataset:
    paths, lengths = zip(*shards, strict=True) if shards else ((), ())
    slices = tf.constant(paths, tf.string), tf.constant(lengths, tf.int64)
    return tf.data.Dataset.from_tensor_slices(slices)


def _sorted_batches(window: tf.Tensor, batch_size: int, seed: tf.Tensor) -> tf.Tensor:
    """Cuts a window of records into batches of similar caption length, in random order.

    string [window] to string [window // batch_size, batch_size]; seed: int64 [2].
    """
    window = window[: tf.shape(window)[0] // batch_size * batch_size]
    order = tf.argsort(records.parse_longest(window), stable=True)
    batches = tf.reshape(order, (-1, batch_size))
    shuffled = tf.random.experimental.stateless_shuffle(tf.range(tf.shape(batches)[0]), seed)
    # Shuffle indices, so that the records, which hold the features, are copied once.
    return tf.gather(window, tf.gather(batches, shuffled))


def _is_flipped(seed: tf.Tensor) -> tf.Tensor:
    """Returns whether a batch has the flipped view, bool []: true for half of the seeds."""
    return tf.random.stateless_uniform([], seed) < 0.5


def _parse_view(serialized: tf.Tensor, info: records.Info, flip: tf.Tensor) -> dict[str, tf.Tensor]:
    if records.FLIPPED not in info.splits["train"]["views"]:
        return records.parse(serialized, info)
    return tf.cond(
        flip,
        lambda: records.parse(serialized, info, records.FLIPPED),
        lambda: records.parse(serialized, info, records.FEATURES),
    )


def _finish(parsed: dict[str, tf.Tensor], *, keep_text: bool = False) -> dict[str, tf.Tensor]:
    tokens = parsed["tokens"].to_tensor()
    length = tf.shape(tokens)[2]
    padding = -(length - 1) % _LENGTH_STEP  # One more than a multiple: inputs and targets overlap.
    batch = {
        "image_id": parsed["image_id"],
        "features": parsed["features"],
        "tokens": tf.pad(tokens, [[0, 0], [0, 0], [0, padding]]),
    }
    if keep_text:
        batch |= {"captions": parsed["captions"], "path": parsed["path"]}
    return batch
