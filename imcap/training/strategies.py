"""The tf.distribute strategy of a training: none, all devices of a machine, or several workers."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from imcap.errors import UserError, first_line

NAMES = ("auto", "none", "mirrored", "multiworker")

_LOST_WORKER_ERRORS = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)


def build(name: str = "auto") -> tf.distribute.Strategy:
    """Returns the strategy called `name`; `auto` follows TF_CONFIG and the number of GPUs.

    Call it before TensorFlow runs anything: workers connect to each other when it is built.

    Raises:
      UserError: an unknown name, or `multiworker` without a usable TF_CONFIG.
    """
    if name == "auto":
        name = _choose()
    if name == "none":
        return tf.distribute.get_strategy()
    if name == "mirrored":
        gpus = tf.config.list_logical_devices("GPU")
        devices = gpus or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    if name == "multiworker":
        return _multiworker()
    raise UserError(f"--distribute={name} must be one of {', '.join(NAMES)}")


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Tells whether this process writes the files that all workers share."""
    return worker_index(strategy) == 0


def num_workers(strategy: tf.distribute.Strategy) -> int:
    """Returns the number of processes that train together."""
    resolver = _resolver(strategy)
    if not resolver:
        return 1
    jobs = resolver.cluster_spec()
    return sum(jobs.num_tasks(job) for job in ("chief", "worker") if job in jobs.jobs)


def worker_index(strategy: tf.distribute.Strategy) -> int:
    """Returns this process's place among the workers: from 0, which is the chief."""
    resolver = _resolver(strategy)
    if not resolver or resolver.task_type == "chief":
        return 0
    return resolver.task_id + ("chief" in resolver.cluster_spec().jobs)


def gather(strategy: tf.distribute.Strategy, value: Any) -> list[Any]:
    """Returns the values of all workers in their order, on every worker.

    All workers have to call it. The values travel as JSON text through TensorFlow's collectives,
    which gather numbers only.

    Args:
      strategy: of the training.
      value: this worker's, anything that JSON holds.
    """
    if num_workers(strategy) == 1:
        return [value]
    content = np.frombuffer(json.dumps(value).encode(), np.uint8).astype(np.int32)

    @tf.function(autograph=False)
    def all_gather() -> tuple[tf.Tensor, tf.Tensor]:
        return strategy.run(replica_gather, args=(tf.constant(content),))

    def replica_gather(content: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        context = tf.distribute.get_replica_context()
        content = tf.identity(content)  # On the replica's device.
        sizes = context.all_gather(tf.shape(content), axis=0)
        return sizes, context.all_gather(content, axis=0)

    sizes, contents = (
        strategy.experimental_local_results(part)[0].numpy() for part in all_gather()
    )
    parts = np.split(contents, np.cumsum(sizes)[:-1])
    # Each replica of a worker sends the worker's value.
    replicas = len(parts) // num_workers(strategy)
    return [json.loads(part.astype(np.uint8).tobytes()) for part in parts[::replicas]]


@contextlib.contextmanager
def worker_failures_as_user_errors(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Turns the errors of collectives whose other workers are gone into a UserError."""
    try:
        yield
    except _LOST_WORKER_ERRORS as error:
        if num_workers(strategy) == 1:
            raise
        # The first line has the cause; the others name the remote task and ask for a restart.
        reason = re.sub(r"\{\{.*?\}\}\s*", "", error.message.partition("\n")[0])
        raise UserError(
            f"another worker has stopped or cannot be reached ({reason}): run the same command on "
            "all workers again, and training continues from the last checkpoint"
        ) from error


def _resolver(strategy: tf.distribute.Strategy) -> tf.distribute.cluster_resolver.ClusterResolver:
    resolver = getattr(strategy, "cluster_resolver", None)
    return resolver if resolver and resolver.task_type else None


def _choose() -> str:
    if os.environ.get("TF_CONFIG"):
        return "multiworker"
    return "mirrored" if len(tf.config.list_physical_devices("GPU")) > 1 else "none"


def _multiworker() -> tf.distribute.Strategy:
    raw = os.environ.get("TF_CONFIG", "")
    try:
        config = json.loads(raw)
        if not config["cluster"]["worker"] or "index" not in config["task"]:
            raise ValueError("it names no worker or no task")
        return tf.distribute.MultiWorkerMirroredStrategy()
    except (ValueError, KeyError, TypeError, tf.errors.InvalidArgumentError) as error:
        raise UserError(
            f"--distribute=multiworker needs TF_CONFIG with the cluster's workers and this task, "
            f'as in {{"cluster": {{"worker": ["host1:2222", "host2:2222"]}}, "task": {{"type": '
            f'"worker", "index": 0}}}}; it is {raw!r}: {first_line(error)}'
        ) from error
