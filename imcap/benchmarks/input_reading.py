"""`imcap bench input`: from records to training batches, beside a plain read of the same files.

Also the share of a training step that is spent waiting for data: steps on the input pipeline beside
steps on batches that are already in memory.
"""

from __future__ import annotations

import functools
import os
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf
from ml_collections import ConfigDict

from imcap import input_pipeline, records, train
from imcap.benchmarks import common
from imcap.errors import UserError
from imcap.records import staging
from imcap.training import distributed_batches, objectives, strategies
from imcap.training.steps import StepOutput

_READERS = (1, 2, 4)
_STEPS = 30  # Of training, per measurement.
_WAIT_AT_MOST = 0.02
_DROP_CACHES = "/proc/sys/vm/drop_caches"


def benchmark_input(
    config: ConfigDict, repeats: int, *, drop_caches: bool = True
) -> list[common.Row]:
    """Measures reading the training split of `config.records.dir`, and training on it.

    Args:
      config: a resolved config with finished records.
      repeats: runs of each measurement; the compared ones take turns.
      drop_caches: also measure cold reads, where the process may drop the machine's page cache.

    Raises:
      UserError: no finished records, or `repeats` is below 1.
    """
    if repeats < 1:
        raise UserError(f"--repeats={repeats}: must be at least 1")
    config = config.copy_and_resolve_references()
    config.records.dir = staging.local_folder(config.records.dir, config.records.cache_dir)
    info = records.read_info(config.records.dir)
    rows = []
    is_cold_possible = drop_caches and os.access(_DROP_CACHES, os.W_OK)
    page_caches = ("cold", "warm") if is_cold_possible else ("warm",)
    for page_cache in page_caches:
        for readers in _READERS:
            rows += _compare_reading(config, info, readers, page_cache, repeats)
    return rows + _compare_training(config, info, repeats)


def _compare_reading(
    config: ConfigDict, info: records.Info, readers: int, page_cache: str, repeats: int
) -> list[common.Row]:
    """Compares training batches with a plain read; `page_cache`: cold or warm."""
    paths = [path for path, _ in records.shards(config.records.dir, info, "train")]
    steps = input_pipeline.steps_per_epoch(info, config.train.batch_size)
    images = steps * config.train.batch_size
    size = sum(os.path.getsize(path) for path in paths) / 1e6

    def bare() -> None:
        files = tf.data.TFRecordDataset(paths, num_parallel_reads=readers)
        for _ in files.batch(256).with_options(records.NO_AUTOTUNE):
            pass

    def ready() -> None:
        for _ in _batches(config, info, readers).take(steps):
            pass

    times = _measure_in_turns({"bare": bare, "ready": ready}, page_cache == "cold", repeats)
    ratio = statistics.median(a / b for a, b in zip(times["bare"], times["ready"], strict=True))
    name = f"{page_cache}, {readers} readers"
    medians = {key: statistics.median(value) for key, value in times.items()}
    return [
        common.Row(f"bare TFRecordDataset, {name}", size / medians["bare"], "MB/s"),
        common.Row(f"ready batches, {name}", size / medians["ready"], "MB/s", ratio),
        common.Row(f"ready batches, {name}", images / medians["ready"], "images/s"),
    ]


def _batches(config: ConfigDict, info: records.Info, readers: int) -> tf.data.Dataset:
    return input_pipeline.train_dataset(
        config.records.dir,
        info,
        batch_size=config.train.batch_size,
        shuffle_buffer=config.train.shuffle_buffer,
        seed=config.seed,
        step=0,
        readers=readers,
    )


def _measure_in_turns(
    functions: dict[str, Callable[[], None]], is_cold: bool, repeats: int
) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in functions}
    if not is_cold:
        for function in functions.values():
            function()  # Fills the page cache and traces graphs.
    for _ in range(repeats):
        for name, function in functions.items():
            if is_cold:
                _drop_caches()
            began = time.monotonic()
            function()
            times[name].append(time.monotonic() - began)
    return times


def _drop_caches() -> None:
    os.sync()
    with open(_DROP_CACHES, "w", encoding="ascii") as file:
        file.write("1")


def _compare_training(config: ConfigDict, info: records.Info, repeats: int) -> list[common.Row]:
    """Compares training steps on the input pipeline with steps on batches in memory."""
    strategy = strategies.build("none")
    dataset = distributed_batches.distributed_dataset(
        config, config.records.dir, info, strategy, step=0
    )
    state = train.create_state_from_config(config, info, strategy)
    objective = objectives.build(config.train, state.decoder, config.records.dir, info)
    step = train.build_train_step(config, state, objective, strategy, dataset.element_spec)
    batches = iter(dataset)
    step(next(batches))  # Traces the step.
    shares, ratios = [], []
    for _ in range(repeats):
        in_memory = [next(batches) for _ in range(_STEPS)]
        in_memory_seconds = common.seconds(functools.partial(common.run_steps, step, in_memory))
        del in_memory
        pipeline_seconds, waited = _time_stream(step, batches)
        shares.append(waited / pipeline_seconds)
        ratios.append(in_memory_seconds / pipeline_seconds)
    share = statistics.median(shares)
    name = "training: share of the time waiting for data"
    return [
        common.Row(name, share, "of a step", share, at_most=_WAIT_AT_MOST),
        common.Row(
            "training: time of batches in memory / time of the pipeline's",
            statistics.median(ratios),
            "times",
        ),
    ]


def _time_stream(step: Callable[[Any], StepOutput], batches: Iterator[Any]) -> tuple[float, float]:
    """Returns the seconds that steps on the input pipeline take, and those spent waiting for it.

    Batches differ in length from those in memory, so the share of waiting is of these same steps.
    """
    waited, began = 0.0, time.monotonic()
    for _ in range(_STEPS):
        asked = time.monotonic()
        batch = next(batches)
        waited += time.monotonic() - asked
        step(batch).shown.numpy()
    return time.monotonic() - began, waited
