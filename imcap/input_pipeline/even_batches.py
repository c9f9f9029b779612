"""Batches of nearly equal size, so that no example of an epoch is left over."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

Elements = dict[str, tf.Tensor]  # Parsed records, see `records.parse_view`.

WINDOW = 16  # Batches of similar length are formed within this many batches of a shuffled stream.


def even_bounds(count: int, batches: int) -> np.ndarray:
    """Returns where nearly equal batches of `count` examples begin and the last one ends, int64
    [batches + 1]."""
    return np.arange(batches + 1) * count // batches


def even_batches(
    examples: tf.data.Dataset, bounds: np.ndarray, epoch_seed: tf.Tensor
) -> tf.data.Dataset:
    """Forms batches of similar caption length, in random order.

    Args:
      examples: parsed records (`records.parse_view`), as many as `bounds` ends with.
      bounds: see `even_bounds`.
      epoch_seed: int64 scalar.

    Returns:
      batches padded with zeros; each has one of the sizes in `bounds`.
    """
    of_windows = tf.constant([*bounds[:-1:WINDOW], bounds[-1]], tf.int64)

    def window_of(number: tf.Tensor, _: Elements) -> tf.Tensor:
        return tf.cast(tf.searchsorted(of_windows, [number], side="right")[0], tf.int64) - 1

    def window_size(key: tf.Tensor) -> tf.Tensor:
        return of_windows[key + 1] - of_windows[key]

    def batched(key: tf.Tensor, group: tf.data.Dataset) -> tf.data.Dataset:
        return group.map(lambda _, record: record).padded_batch(window_size(key))

    def cut(key: tf.Tensor, window: Elements) -> tf.data.Dataset:
        first = key * WINDOW
        starts = tf.constant(bounds)[first : first + WINDOW + 1] - of_windows[key]
        order = by_length(window["caption_lengths"])
        seed = tf.stack([epoch_seed, key])
        numbers = tf.range(tf.size(starts) - 1)
        shuffled = tf.random.experimental.stateless_shuffle(numbers, seed)
        return tf.data.Dataset.from_tensor_slices(shuffled).map(
            lambda number: rows_of(window, order[starts[number] : starts[number + 1]])
        )

    windows = examples.enumerate().group_by_window(window_of, batched, window_size_func=window_size)
    return windows.enumerate().flat_map(cut)


def by_length(caption_lengths: tf.Tensor) -> tf.Tensor:
    """Returns the numbers of elements, int32 [count], by the length of their longest caption; int64
    [count, captions]."""
    return tf.argsort(tf.reduce_max(caption_lengths, axis=1), stable=True)


def rows_of(window: Elements, numbers: tf.Tensor) -> Elements:
    """Returns the elements of these numbers. They are copied when they are wanted, not those of the
    window: they hold the features."""
    return {name: tf.gather(values, numbers) for name, values in window.items()}
