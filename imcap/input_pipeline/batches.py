"""What the batches of training and evaluation share."""

from __future__ import annotations

import os
from collections.abc import Sequence

import tensorflow as tf

PREFETCH = 4  # Batches.
PARALLEL = os.cpu_count() or 1
# Lengths are padded up to a multiple of this, so that a graph sees few different shapes.
_LENGTH_STEP = 4


def as_dataset(shards: Sequence[tuple[str, int]]) -> tf.data.Dataset:
    """Returns shards (path, length) as a dataset."""
    paths, lengths = zip(*shards, strict=True) if shards else ((), ())
    slices = tf.constant(paths, tf.string), tf.constant(lengths, tf.int64)
    return tf.data.Dataset.from_tensor_slices(slices)


def finish(parsed: dict[str, tf.Tensor], *, keep_text: bool = False) -> dict[str, tf.Tensor]:
    """Returns a batch of parsed records; `keep_text`: with the captions and paths as well."""
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
