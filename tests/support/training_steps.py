"""One training step on the images of `landscapes`."""

from __future__ import annotations

import tensorflow as tf
from ml_collections import ConfigDict

from imcap import input_pipeline, records, train
from imcap.training import objectives
from imcap.training.objectives import Batch
from imcap.training.steps import TrainState


def create_state(config: ConfigDict, compute_dtype: str = "float32") -> TrainState:
    info = records.read_info(config.records.dir)
    strategy = tf.distribute.get_strategy()
    return train.create_state_from_config(config, info, strategy, compute_dtype)


def first_batch(config: ConfigDict) -> Batch:
    """Features and tokens of the same training images with all their captions."""
    info = records.read_info(config.records.dir)
    batches = input_pipeline.eval_dataset(config.records.dir, info, "train", batch_size=9)
    batch = next(iter(batches))
    return {key: batch[key] for key in ("features", "tokens")}


def build_train_step(config: ConfigDict, state: TrainState, batch: Batch):
    spec = tf.nest.map_structure(tf.type_spec_from_value, batch)
    folder = config.records.dir
    objective = objectives.build(config.train, state.decoder, folder, records.read_info(folder))
    return train.build_train_step(config, state, objective, tf.distribute.get_strategy(), spec)
