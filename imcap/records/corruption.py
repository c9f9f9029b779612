"""Corrupted shards: naming the first one, or reading a split without what they lost."""

from __future__ import annotations

import dataclasses
from typing import NoReturn

import tensorflow as tf
from absl import logging

from imcap import records
from imcap.errors import UserError, one_line

# What reading a shard raises that is cut off, changed, missing or of another kind. TensorFlow's
# messages quote what cannot be parsed, which need not be UTF-8.
ERRORS = (
    tf.errors.DataLossError,
    tf.errors.InvalidArgumentError,
    tf.errors.NotFoundError,
    UnicodeDecodeError,
)


def describe(path: str, reason: str) -> str:
    """Returns one line that says why a shard cannot be read and what to do about it."""
    return (
        f"{path} is corrupted ({reason}): delete it and run `imcap records`, which builds that "
        "shard again, or skip what cannot be read: --config.records.skip_corrupted"
    )


def raise_corrupted(folder: str, info: records.Info, split: str, error: Exception) -> NoReturn:
    """Raises UserError naming the first corrupted shard of a split; `error` if there is none.

    All shards of the split are read once.
    """
    for path, length in records.shards(folder, info, split):
        _, reason = _readable(path, info.compression, length)
        if reason:
            raise UserError(describe(path, reason)) from error
    raise error


def skip_corrupted(folder: str, info: records.Info, split: str) -> records.Info:
    """Returns `info` with the lengths that a split's shards can be read to; logs what is lost.

    Records after a corrupted one are lost too: only its length says where the next one begins.
    All shards of the split are read once.

    Raises:
      UserError: nothing of the split can be read.
    """
    lengths = list(info.splits[split]["shard_lengths"])
    for path, length in records.shards(folder, info, split):
        count, reason = _readable(path, info.compression, length)
        if reason:
            lengths[records.shard_index(path)] = count
            lost = length - count
            logging.warning("%s: %d of %d images skipped (%s)", path, lost, length, reason)
    if not any(lengths):
        raise UserError(
            f"{folder}: nothing of the split {split} can be read: delete its shards and run "
            "`imcap records`, which builds them again"
        )
    splits = {**info.splits, split: {**info.splits[split], "shard_lengths": lengths}}
    return dataclasses.replace(info, splits=splits)


def _readable(path: str, compression: str, length: int) -> tuple[int, str]:
    """Returns how many of a shard's records can be read and parsed, and why no more."""
    count = 0
    try:
        dataset = records.dataset([path], compression).take(length)
        parsed = dataset.map(lambda record: records.parse_longest(record[tf.newaxis]))
        for _ in parsed.with_options(records.NO_AUTOTUNE):
            count += 1
    except tf.errors.OpError as error:
        return count, one_line(error)
    except UnicodeDecodeError:  # Of TensorFlow's own message, see ERRORS.
        return count, f"record {count + 1} is no tf.train.Example"
    return count, "" if count == length else f"it ends after {count} of {length} records"
