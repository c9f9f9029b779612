"""The batches of a training, divided among its replicas."""

from __future__ import annotations

from collections.abc import Iterator

import tensorflow as tf
from ml_collections import ConfigDict

from imcap import input_pipeline, records
from imcap.records import corruption
from imcap.training.objectives import Batch


def distributed_dataset(
    config: ConfigDict, folder: str, info: records.Info, strategy: tf.distribute.Strategy, step: int
) -> tf.distribute.DistributedDataset:
    """Returns the endless training batches after `step`, divided among the replicas.

    `folder`: the local records folder that `info` describes.
    """
    dataset = input_pipeline.train_dataset(
        folder,
        info,
        batch_size=config.train.batch_size,
        shuffle_buffer=config.train.shuffle_buffer,
        seed=config.seed,
        step=step,
        readers=config.train.readers,
    )
    # Every worker reads the same stream and takes its part of each batch, so that any number of
    # workers trains on the same batches.
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return strategy.experimental_distribute_dataset(dataset.with_options(options))


def read_batches(
    dataset: tf.distribute.DistributedDataset, folder: str, info: records.Info
) -> Iterator[Batch]:
    """Yields the batches; raises UserError naming the first shard that cannot be read."""
    try:
        yield from dataset
    except corruption.ERRORS as error:
        corruption.raise_corrupted(folder, info, "train", error)
