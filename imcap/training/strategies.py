"""Which tf.distribute strategy trains: none, all devices of a machine, or several workers."""

from __future__ import annotations

import json
import os

import tensorflow as tf

from imcap.errors import UserError

NAMES = ("auto", "none", "mirrored", "multiworker")


def build(name: str = "auto") -> tf.distribute.Strategy:
    """Returns the strategy called `name`; `auto` follows TF_CONFIG and the number of GPUs.

    Call it before anything else of TensorFlow: several workers must find each other first.

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
    resolver = getattr(strategy, "cluster_resolver", None)
    if not resolver or not resolver.task_type:
        return True
    return resolver.task_type == "chief" or (
        resolver.task_type == "worker"
        and resolver.task_id == 0
        and "chief" not in resolver.cluster_spec().jobs
    )


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
            f'"worker", "index": 0}}}}; it is {raw!r}: {str(error).splitlines()[0]}'
        ) from error
