"""The batches of a training, divided among its replicas."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import tensorflow as tf
from ml_collections import ConfigDict

from imcap import input_pipeline, records
from imcap.errors import UserError
from imcap.records import corruption
from imcap.training import strategies
from imcap.training.objectives import Batch


def distributed_dataset(
    config: ConfigDict, folder: str, info: records.Info, strategy: tf.distribute.Strategy, step: int
) -> tf.distribute.DistributedDataset:
    """Returns the endless training batches after `step`, divided among the replicas.

    `folder`: the local records folder that `info` describes.
    """
    if config.train.shard_per_worker:
        return _own_shards_dataset(config, folder, info, strategy, step)
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


def _own_shards_dataset(
    config: ConfigDict, folder: str, info: records.Info, strategy: tf.distribute.Strategy, step: int
) -> tf.distribute.DistributedDataset:
    """Returns batches for which each worker reads its own shards alone."""
    worker, num_workers = strategies.worker_index(strategy), strategies.num_workers(strategy)
    replicas = strategy.num_replicas_in_sync // num_workers
    batches = replicas * input_pipeline.steps_per_epoch(info, config.train.batch_size)
    parts = divide_shards(records.shards(folder, info, "train"), num_workers, batches)

    def build(_: tf.distribute.InputContext) -> tf.data.Dataset:
        return input_pipeline.worker_dataset(
            folder,
            info,
            parts[worker],
            batch_size=config.train.batch_size,
            shuffle_buffer=config.train.shuffle_buffer,
            seed=config.seed,
            step=step,
            replicas=replicas,
            readers=config.train.readers,
        )

    return strategy.distribute_datasets_from_function(build)


def divide_shards(
    shards: Sequence[tuple[str, int]], workers: int, batches: int = 1
) -> list[list[tuple[str, int]]]:
    """Divides shards among workers: the longest first, to the worker with the fewest images.

    Args:
      shards: (path, length) of each.
      workers: how many.
      batches: of each worker in an epoch; none may be empty.

    Raises:
      UserError: there are fewer shards than workers, or a worker has fewer images than batches.
    """
    if len(shards) < workers:
        raise UserError(
            f"config.train.shard_per_worker=True: the records have {len(shards)} training shards "
            f"for {workers} workers: build them with a larger config.records.num_shards"
        )
    parts: list[list[tuple[str, int]]] = [[] for _ in range(workers)]
    for shard in sorted(shards, key=lambda shard: (-shard[1], shard[0])):
        min(parts, key=_count_images).append(shard)
    fewest = min(map(_count_images, parts))
    if fewest < batches:
        raise UserError(
            f"config.train.shard_per_worker=True: a worker's shards hold {fewest} images for "
            f"{batches} batches an epoch: give a larger config.train.batch_size, or build records "
            "with a larger config.records.num_shards"
        )
    return [sorted(part) for part in parts]


def _count_images(shards: Sequence[tuple[str, int]]) -> int:
    return sum(length for _, length in shards)


def read_batches(
    dataset: tf.distribute.DistributedDataset, folder: str, info: records.Info
) -> Iterator[Batch]:
    """Yields the batches; raises UserError naming the first shard that cannot be read."""
    try:
        yield from dataset
    except corruption.ERRORS as error:
        corruption.raise_corrupted(folder, info, "train", error)
