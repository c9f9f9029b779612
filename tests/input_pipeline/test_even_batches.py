"""Batches of nearly equal size, and the workers that read their own shards in them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from imcap import input_pipeline, records
from imcap.input_pipeline.even_batches import even_bounds
from imcap.training.distributed_batches import divide_shards

BATCH = 9  # Of all workers: five steps an epoch.


@pytest.mark.parametrize(("count", "batches"), [(45, 5), (23, 5), (100, 33), (64, 64)])
def test_bounds_divide_examples_evenly(count, batches):
    sizes = np.diff(even_bounds(count, batches))
    assert len(sizes) == batches
    assert sizes.sum() == count
    assert set(sizes) <= {count // batches, -(-count // batches)}


def read(trained, worker: int, steps: int, *, step: int = 0, batch: int = BATCH, replicas: int = 1):
    """Returns the batches of one of two workers."""
    folder, info = trained.config.records.dir, trained.info
    shards = divide_shards(records.shards(folder, info, "train"), 2)[worker]
    dataset = input_pipeline.worker_dataset(
        folder, info, shards, batch_size=batch, shuffle_buffer=20, seed=3, step=step,
        replicas=replicas,
    )  # fmt: skip
    return list(dataset.take(steps * replicas).as_numpy_iterator())


def ids(batches) -> list[list[bytes]]:
    return [batch["image_id"].tolist() for batch in batches]


@pytest.mark.parametrize(("batch", "replicas"), [(9, 1), (9, 2), (2, 1), (45, 1)])
def test_two_workers_read_every_image_exactly_once_an_epoch(trained, batch, replicas):
    steps = 45 // batch
    workers = [read(trained, w, 2 * steps, batch=batch, replicas=replicas) for w in (0, 1)]
    every = {row for w in workers for part in ids(w) for row in part}
    assert len(every) == trained.info.num_images("train") == 45
    for first in (0, steps * replicas):
        epoch = [part for w in workers for part in ids(w)[first : first + steps * replicas]]
        assert Counter(row for part in epoch for row in part) == dict.fromkeys(every, 1)
    for w in workers:
        sizes = {len(part["image_id"]) for part in w}
        assert max(sizes) - min(sizes) <= 1
    assert ids(workers[0])[: steps * replicas] != ids(workers[0])[steps * replicas :]


@pytest.mark.parametrize("step", [3, 5, 7])
def test_a_worker_continues_at_any_step(trained, step):
    whole, continued = read(trained, 1, 10), read(trained, 1, 10 - step, step=step)
    assert ids(continued) == ids(whole[step:])
    for found, expected in zip(continued, whole[step:], strict=True):
        np.testing.assert_array_equal(found["tokens"], expected["tokens"])
        np.testing.assert_array_equal(found["features"], expected["features"])
