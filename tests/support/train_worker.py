"""Training in a process of its own, as one of several workers or to be killed."""

from __future__ import annotations

import importlib
import itertools
import json
import os
import signal
import socket
import sys

import numpy as np
import processes


def die_at(name: str, word: str, config: dict, workdir: str) -> None:
    """Trains, and kills itself before it first calls a function with `word` in an argument.

    Args:
      name: of the function, such as `os.replace`.
      word: such as a part of a path.
      config: a resolved config, as a dict.
      workdir: of the run.
    """
    from ml_collections import ConfigDict

    from imcap import train

    module, attribute = name.rsplit(".", 1)
    original = getattr(sys.modules[module], attribute)

    def deadly(*args, **kwargs):
        if any(word in str(argument) for argument in args):
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **kwargs)

    setattr(sys.modules[module], attribute, deadly)
    train.train_and_evaluate(ConfigDict(config), workdir, "none")


def cluster_of_two() -> list[dict]:
    """TF_CONFIGs of two workers on this machine, on free ports."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    hosts = [f"127.0.0.1:{s.getsockname()[1]}" for s in sockets]
    for s in sockets:
        s.close()
    return [
        {"cluster": {"worker": hosts}, "task": {"type": "worker", "index": index}}
        for index in range(2)
    ]


def signal_itself(
    where: str, call: int, number: int, arguments: list[str], out: str, err: str,
    cluster: dict | None = None,
) -> None:  # fmt: skip
    """Runs `imcap ARGUMENTS`, and sends itself a signal when it calls a method the nth time.

    Args:
      where: of the method, such as `imcap.training.checkpoints:Checkpoints.save_last`.
      call: the number of the call, from 1.
      number: of the signal.
      arguments: of the command.
      out, err: files for its output.
      cluster: TF_CONFIG's value, if any.
    """
    if cluster:
        os.environ["TF_CONFIG"] = json.dumps(cluster)
    module, _, name = where.partition(":")
    owner, _, method = name.partition(".")
    owner = getattr(importlib.import_module(module), owner)
    original, calls = getattr(owner, method), itertools.count(1)

    def signalling(*values, **options):
        if next(calls) == call:
            os.kill(os.getpid(), number)
        return original(*values, **options)

    setattr(owner, method, signalling)
    processes.run_command_in_fork(arguments, out, err)


def train(config: dict, workdir: str, distribute: str, weights: str, cluster: dict) -> None:
    """Calls `train_and_evaluate`, and saves the last weights of this process.

    Args:
      config: a resolved config, as a dict.
      workdir: of the run.
      distribute: the strategy; `mirrored` gets two logical CPUs.
      weights: path of an .npz: weights by name, `replicas`, `captioned`, the number of dev
        images that this process captioned in each evaluation, and `read`, the ids of the images
        that it was trained on, step by step. A UserError is written to
        `WEIGHTS.error` instead, and the process exits with 2.
      cluster: TF_CONFIG's value; empty for none.
    """
    import tensorflow as tf
    from ml_collections import ConfigDict

    from imcap import train
    from imcap.decoding.predictions import Predictor
    from imcap.errors import UserError
    from imcap.training import distributed_batches

    if cluster:
        os.environ["TF_CONFIG"] = json.dumps(cluster)
    if distribute == "mirrored":
        cpu = tf.config.list_physical_devices("CPU")[0]
        halves = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(cpu, halves)
    config = ConfigDict(config)
    os.makedirs(workdir, exist_ok=True)
    predict_split, captioned = Predictor.predict_split, []

    def counted(*args, **kwargs):
        predictions = predict_split(*args, **kwargs)
        captioned.append(len(predictions.captions))
        return predictions

    Predictor.predict_split = counted
    read_batches, read = distributed_batches.read_batches, []

    def noted(*args):
        for batch in read_batches(*args):
            ids = tf.nest.flatten(batch["image_id"], expand_composites=True)
            read.append([image_id.decode() for part in ids for image_id in part.numpy()])
            yield batch

    distributed_batches.read_batches = noted
    try:
        trained = train.train_and_evaluate(config, workdir, distribute)
    except UserError as error:
        with open(f"{weights}.error", "w", encoding="utf-8") as file:
            file.write(str(error))
        sys.exit(2)
    named = trained.decoder.weights_by_name()
    values = {name: weight.numpy() for name, weight in named.items()}
    ids = json.dumps(read)
    np.savez(weights, replicas=trained.num_replicas, captioned=captioned, read=ids, **values)
