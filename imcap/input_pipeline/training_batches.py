"""The endless batches of a training, from any step on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from imcap import records
from imcap.errors import UserError
from imcap.input_pipeline.batches import PARALLEL, PREFETCH, as_dataset, finish
from imcap.input_pipeline.even_batches import (
    WINDOW,
    Elements,
    by_length,
    even_batches,
    even_bounds,
    rows_of,
)


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
            shards, info, batch_size, shuffle_buffer, _epoch_seed(seed, number), readers
        )
        # Batches already seen are skipped before their features are decoded.
        seen = tf.where(number == step // per_epoch, step % per_epoch, 0)
        return batches.take(per_epoch).skip(tf.cast(seen, tf.int64))

    return _parsed_epochs(epoch, info, step // per_epoch)


def worker_dataset(
    folder: str,
    info: records.Info,
    shards: Sequence[tuple[str, int]],
    *,
    batch_size: int,
    shuffle_buffer: int,
    seed: int,
    step: int,
    replicas: int = 1,
    readers: int = 2,
) -> tf.data.Dataset:
    """Returns the endless training batches of a worker that reads only some shards.

    An epoch has as many steps as that of `train_dataset`. The worker's images are divided evenly
    among them, so that each is read exactly once; its batches differ in size by one at most.

    Args:
      shards: the worker's (path, length), of at least one image for each replica and step.
      batch_size: of all workers together.
      replicas: of this worker; each step takes a batch for each of them.
      folder, info, shuffle_buffer, seed, step, readers: see `train_dataset`.
    """
    per_epoch = steps_per_epoch(info, batch_size)
    bounds = even_bounds(sum(length for _, length in shards), per_epoch * replicas)

    def epoch(number: tf.Tensor) -> tf.data.Dataset:
        tf.random.set_seed(1)  # See `train_dataset`.
        epoch_seed = _epoch_seed(seed, number)
        examples = _shuffled_examples(shards, info, shuffle_buffer, epoch_seed, readers)
        batches = even_batches(examples, bounds, epoch_seed)
        seen = tf.where(number == step // per_epoch, step % per_epoch, 0)
        return batches.skip(tf.cast(seen * replicas, tf.int64))

    return _parsed_epochs(epoch, info, step // per_epoch)


def steps_per_epoch(info: records.Info, batch_size: int) -> int:
    """Returns the training batches of an epoch; raises UserError if there is no image."""
    images = info.num_images("train") if "train" in info.splits else 0
    if not images:
        raise UserError("the records hold no training image: build some with a `train` split")
    return max(images // batch_size, 1)


def _epoch_batches(
    shards: list[tuple[str, int]],
    info: records.Info,
    batch_size: int,
    shuffle_buffer: int,
    epoch_seed: tf.Tensor,
    readers: int,
) -> tf.data.Dataset:
    """One epoch's batches of parsed records, padded with zeros."""
    examples = _shuffled_examples(shards, info, shuffle_buffer, epoch_seed, readers)
    windows = examples.padded_batch(batch_size * WINDOW)
    return windows.enumerate().flat_map(
        lambda number, window: _sorted_batches(window, batch_size, tf.stack([epoch_seed, number]))
    )


def _parsed_epochs(
    epoch: Callable[[tf.Tensor], tf.data.Dataset], info: records.Info, first: int
) -> tf.data.Dataset:
    """Returns the batches of all epochs from one on; `epoch` gives those of an epoch."""

    @tf.autograph.experimental.do_not_convert
    def unpack(packed: Elements) -> dict[str, tf.Tensor]:
        return finish(records.unpack(packed, info))

    epoch = tf.autograph.experimental.do_not_convert(epoch)
    dataset = tf.data.Dataset.range(first, tf.int64.max).flat_map(epoch)
    dataset = dataset.map(unpack, num_parallel_calls=PARALLEL, deterministic=True)
    return dataset.prefetch(PREFETCH).with_options(records.NO_AUTOTUNE)


def _epoch_seed(seed: int, epoch: tf.Tensor) -> tf.Tensor:
    return tf.cast(seed, tf.int64) * 1_000_003 + epoch


def _shuffled_examples(
    shards: Sequence[tuple[str, int]],
    info: records.Info,
    shuffle_buffer: int,
    epoch_seed: tf.Tensor,
    readers: int,
) -> tf.data.Dataset:
    """Returns parsed records in an epoch's order: buffers hold one view of each, at random."""
    keys = info.splits["train"]["views"]

    def parse(number: tf.Tensor, serialized: tf.Tensor) -> Elements:
        seed = tf.stack([epoch_seed, number])
        view = tf.random.stateless_uniform([], seed, maxval=len(keys), dtype=tf.int32)
        return records.parse_view(serialized, info, keys, view)

    order = as_dataset(shards).shuffle(len(shards), seed=epoch_seed)
    serialized = records.interleave(order, info.compression, min(len(shards), 16), readers)
    examples = serialized.enumerate().map(parse, num_parallel_calls=PARALLEL, deterministic=True)
    return examples.shuffle(shuffle_buffer, seed=epoch_seed)


def _sorted_batches(window: Elements, batch_size: int, seed: tf.Tensor) -> tf.data.Dataset:
    """Cuts a window of records into batches of similar caption length, in random order; seed: int64
    [2]."""
    count = tf.shape(window["image_id"])[0] // batch_size * batch_size
    order = by_length(window["caption_lengths"][:count])
    batches = tf.reshape(order, (-1, batch_size))
    shuffled = tf.random.experimental.stateless_shuffle(tf.range(tf.shape(batches)[0]), seed)
    rows = tf.data.Dataset.from_tensor_slices(tf.gather(batches, shuffled))
    return rows.map(lambda numbers: rows_of(window, numbers))
