"""Shards that cannot be read to their end: named, or left out as far as they are lost."""

from __future__ import annotations

import dataclasses
from typing import NoReturn

import tensorflow as tf

from imcap import records
from imcap.errors import UserError, one_line

# What a shard raises that is cut, changed or gone.
ERRORS = (tf.errors.DataLossError, tf.errors.InvalidArgumentError, tf.errors.NotFoundError)


def describe(path: str, error: tf.errors.OpError) -> str:
    """Returns one line on a shard that cannot be read, with the offset that TensorFlow names."""
    return (
        f"{path} is damaged ({one_line(error)}): delete it and run `imcap records`, which makes "
        "that shard again, or go on without what is lost: --config.records.skip_damaged"
    )


def raise_first(folder: str, info: records.Info, split: str, error: Exception) -> NoReturn:
    """Raises UserError naming the first shard of a split that cannot be read; else `error`."""
    for path, _ in records.shards(folder, info, split):
        _, damage = _readable(path, info.compression)
        if damage:
            raise UserError(describe(path, damage)) from error
    raise error


def leave_out(folder: str, info: records.Info, split: str) -> records.Info:
    """Returns `info` with the lengths that a split's shards can be read to; prints what is lost.

    A record behind a damaged one counts as lost: only its length says where the next one begins.
    All shards of the split are read once.

    Raises:
      UserError: nothing of the split can be read.
    """
    lengths = list(info.splits[split]["shard_lengths"])
    for path, expected in records.shards(folder, info, split):
        count, error = _readable(path, info.compression)
        if count < expected:
            lengths[records.shard_index(path)] = count
            why = one_line(error) if error else "the file ends before"
            print(f"{path}: {expected - count} of {expected} images left out ({why})")
    if not any(lengths):
        raise UserError(f"{folder}: nothing of the split {split} can be read")
    splits = {**info.splits, split: {**info.splits[split], "shard_lengths": lengths}}
    return dataclasses.replace(info, splits=splits)


def _readable(path: str, compression: str) -> tuple[int, tf.errors.OpError | None]:
    """Returns how many records can be read and parsed, and what ends that before its time."""
    count = 0
    try:
        dataset = records.dataset([path], compression)
        parsed = dataset.map(lambda record: records.parse_lengths(record[tf.newaxis]))
        for _ in parsed.with_options(records.NO_AUTOTUNE):
            count += 1
    except tf.errors.OpError as error:
        return count, error
    return count, None
