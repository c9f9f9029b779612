"""The batches of a training, divided among its replicas."""

from __future__ import annotations

import itertools

import numpy as np
import tensorflow as tf

from imcap.training.distributed_batches import distributed_dataset, read_batches


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
