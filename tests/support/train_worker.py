"""Training in a process of its own, as one of several workers or to be killed."""

from __future__ import annotations

import json
import os

import numpy as np


def train(config: dict, workdir: str, distribute: str, weights: str, cluster: dict) -> None:
    """Calls `train_and_evaluate`, and saves the weights that this process ends with.

    Args:
      config: a resolved config, as a dict.
      workdir: of the run.
      distribute: the strategy; `mirrored` gets two logical CPUs.
      weights: path of an .npz, weights by name.
      cluster: TF_CONFIG's value; empty for none.
    """
    import tensorflow as tf
    from ml_collections import ConfigDict

    from imcap import records, train
    from imcap.training import strategies

    if cluster:
        os.environ["TF_CONFIG"] = json.dumps(cluster)
    if distribute == "mirrored":
        cpu = tf.config.list_physical_devices("CPU")[0]
        halves = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(cpu, halves)
    config = ConfigDict(config)
    os.makedirs(workdir, exist_ok=True)
    strategy = strategies.build(distribute)
    trainer = train.Trainer(config, workdir, records.read_info(config.records.dir), strategy)
    trainer.restore()
    trainer.fit()
    values = {weight.name: weight.numpy() for weight in trainer.decoder.weights}
    np.savez(weights, replicas=strategy.num_replicas_in_sync, **values)
