"""The batches of a training, divided among its replicas."""

from __future__ import annotations

import itertools

import numpy as np
import tensorflow as tf
from refusals import refusal

from imcap.training.distributed_batches import distributed_dataset, divide_shards, read_batches


def test_batches_continue_after_the_step(trained):
    def tokens(step: int) -> list[np.ndarray]:
        folder, strategy = trained.config.records.dir, tf.distribute.get_strategy()
        dataset = distributed_dataset(trained.config, folder, trained.info, strategy, step)
        batches = itertools.islice(read_batches(dataset, folder, trained.info), 8 - step)
        return [batch["tokens"].numpy() for batch in batches]

    whole = tokens(0)
    assert len(whole) == 8  # Endless: an epoch has five batches.
    for found, expected in zip(tokens(3), whole[3:], strict=True):
        np.testing.assert_array_equal(found, expected)


def test_shards_are_divided_evenly():
    shards = [("a", 5), ("b", 9), ("c", 3), ("d", 2)]
    assert divide_shards(shards, 2) == [[("b", 9)], [("a", 5), ("c", 3), ("d", 2)]]
    assert divide_shards(shards, 1) == [shards]


def test_fewer_shards_than_workers_are_refused():
    line = refusal(divide_shards, [("a", 5), ("b", 9)], 3)
    assert line.startswith("config.train.shard_per_worker=True: the records have 2 training shards")


def test_a_worker_with_fewer_images_than_batches_is_refused():
    shards = [("a", 5), ("b", 2), ("c", 2)]
    assert divide_shards(shards, 2, 4) == [[("a", 5)], [("b", 2), ("c", 2)]]
    line = refusal(divide_shards, shards, 2, 5)
    assert "a worker's shards hold 4 images for 5 batches an epoch" in line
