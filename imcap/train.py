"""Training: one loop for every strategy, which can be interrupted and continued at any step."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import keras
import tensorflow as tf
from absl import logging
from ml_collections import ConfigDict

from imcap import config as config_lib
from imcap import input_pipeline, records, runtime
from imcap.decoders import tuned
from imcap.decoders.base import Decoder
from imcap.decoders.word_vectors import WordVectors
from imcap.decoding.predictions import Predictor
from imcap.encoders import upper_layers
from imcap.records import corruption, staging
from imcap.training import (
    checkpoints,
    dev_scores,
    distributed_batches,
    initial_vectors,
    initial_weights,
    loss_scale,
    objectives,
    steps,
    strategies,
)
from imcap.training.checkpoints import Checkpoints, Metadata
from imcap.training.history import History
from imcap.training.loop.run import Run
from imcap.training.loop.samples import Samples
from imcap.training.loop.tensorboard import EventWriter
from imcap.training.loop.training_loop import TrainingLoop
from imcap.training.objectives import Batch, Objective
from imcap.training.optimizer import build_for
from imcap.training.steps import StepOutput, TrainState

_CAPTIONS_PER_IMAGE = 5  # Of most data sets; an estimate is enough.
_SPLITS = ("train", "dev")


class Trained(NamedTuple):
    """The decoder with its last weights, the history, and the number of replicas that trained."""

    decoder: Decoder
    history: History
    num_replicas: int


def train_and_evaluate(config: ConfigDict, workdir: str, distribute: str = "auto") -> Trained:
    """Trains a decoder on the records of `config.records.dir`, or continues where it stopped.

    Writes checkpoints/, logs/, history.csv, history.png and, where its embedding starts from a
    file's vectors, word_vectors.json in `workdir`.

    Args:
      config: resolved.
      workdir: the run's folder; all workers of a training need the same one.
      distribute: one of `strategies.NAMES`.

    Raises:
      UserError: no finished records, an unknown strategy, a checkpoint of another model or
        vocabulary (the run's own or `train.from_checkpoint`), a run trained with other settings,
        word vectors that cannot be used, or another worker has stopped.
      Interrupted, DivergenceError: see `TrainingLoop.train`.
    """
    strategy = strategies.build(distribute)
    folder = staging.local_folder(config.records.dir, config.records.cache_dir)
    info = read_training_info(config, folder)
    config_lib.check_run(config, workdir)
    with strategies.worker_failures_as_user_errors(strategy):
        run = open_run(config, workdir, folder, info, strategy)
        if run.is_trained():
            logging.info("%s: trained already, %d steps", workdir, run.first_step)
        else:
            _log_start(run)
            _train(config, run, folder, info)
        return Trained(run.state.decoder, run.history, strategy.num_replicas_in_sync)


def open_run(
    config: ConfigDict,
    workdir: str,
    folder: str,
    info: records.Info,
    strategy: tf.distribute.Strategy,
) -> Run:
    """Returns the run as its last checkpoint has it; a new one where there is none.

    Args:
      config: resolved.
      workdir: the run's folder.
      folder: the local records folder.
      info: its info.json.
      strategy: of the training.

    Raises:
      UserError: as `train_and_evaluate`.
    """
    write = strategies.is_chief(strategy)
    vectors = initial_vectors.read(config, workdir, folder, info, write=write)
    metadata = choose_metadata(config, workdir, info, strategy)
    state = create_state_from_config(config, info, strategy, metadata.compute_dtype, vectors)
    keep = config.train.keep_checkpoints
    saved = Checkpoints(workdir, state, metadata, keep=keep, write=write)
    first_step = saved.restore()
    if not first_step:
        initial_weights.load(config, state.decoder, info)
    if write:
        config_lib.save(config, workdir)
    history = History(workdir, first_step)
    steps_per_epoch = input_pipeline.steps_per_epoch(info, config.train.batch_size)
    return Run(config.train, workdir, strategy, state, saved, history, first_step, steps_per_epoch)


def _train(config: ConfigDict, run: Run, folder: str, info: records.Info) -> None:
    """Takes the steps that are left."""
    dataset = distributed_batches.distributed_dataset(
        config, folder, info, run.strategy, run.first_step
    )
    batches = distributed_batches.read_batches(dataset, folder, info)
    objective = objectives.build(config.train, run.state.decoder, folder, info)
    train_step = build_train_step(config, run.state, objective, run.strategy, dataset.element_spec)
    build_loop(config, run, objective, folder, info).train(train_step, batches)


def build_loop(
    config: ConfigDict, run: Run, objective: Objective, folder: str, info: records.Info
) -> TrainingLoop:
    """Returns what takes the steps of a run, and does what follows a step and an epoch.

    Args:
      config: resolved.
      run: from `open_run`.
      objective: what is minimized.
      folder: the local records folder.
      info: its info.json.
    """
    tokenizer = records.read_tokenizer(folder, info)
    predictor = Predictor(run.state.decoder, tokenizer, config.decode, folder, info)
    summaries = EventWriter(run.workdir, write=run.is_chief)
    samples = Samples(run.state.decoder, tokenizer, folder, info, config.dataset, summaries)
    num_dev_images = dev_scores.count_images(config.train, info)
    return TrainingLoop(run, objective, predictor, num_dev_images, summaries, samples)


def read_training_info(config: ConfigDict, folder: str) -> records.Info:
    """Returns the info.json of a local records folder, checked against the config.

    Skips corrupted shards where the config says so, and warns where there is no dev split.

    Raises:
      UserError: the records are not finished or were encoded with other settings.
    """
    info = records.read_info(folder)
    info.check_encoder(folder, config.encoder)
    if config.records.skip_corrupted:
        for split in sorted(info.splits.keys() & set(_SPLITS)):
            info = corruption.skip_corrupted(folder, info, split)
    if "dev" not in info.splits:
        logging.warning("%s has no split dev: the last weights will count as the best", folder)
    return info


def choose_metadata(
    config: ConfigDict, workdir: str, info: records.Info, strategy: tf.distribute.Strategy
) -> Metadata:
    """Returns what the run's checkpoints say of it; `auto` keeps the dtype that it began with.

    Raises:
      UserError: the last checkpoint is corrupted or of another vocabulary.
    """
    path = checkpoints.find(workdir, checkpoints.LAST)
    requested = config.train.compute_dtype
    if path:
        metadata = checkpoints.read_metadata(path, info.vocabulary_digest)
        if requested == "auto":
            logging.info("compute dtype %s (as this run began)", metadata.compute_dtype)
            return metadata
    choice = runtime.choose_dtype(requested, gemm_shapes(config, info))
    # Timings differ between workers, and all of them have to compute the same.
    name, reason = strategies.gather(strategy, choice)[0]
    logging.info("compute dtype %s (%s)", name, reason)
    return Metadata(info.vocabulary_digest, name)


def gemm_shapes(config: ConfigDict, info: records.Info) -> list[runtime.GemmShape]:
    """Returns (m, k, n) of the products that take most of a training step's time."""
    model, (positions, channels) = config.model, info.feature_shape
    captions = _CAPTIONS_PER_IMAGE * config.train.batch_size
    tokens = captions * (info.text["max_length"] + 1) // 2  # Captions fill about half of it.
    return [
        (tokens, model.embedding_size, info.text["vocabulary_size"]),  # The output layer.
        (captions, 2 * model.units, 4 * model.units),  # The LSTM's recurrent kernel.
        (tokens, model.embedding_size, 4 * model.units),  # The LSTM's input kernel.
        (config.train.batch_size * positions, channels, model.units),  # The features' projection.
    ]


def create_state_from_config(
    config: ConfigDict,
    info: records.Info,
    strategy: tf.distribute.Strategy,
    compute_dtype: str = "float32",
    vectors: WordVectors | None = None,
) -> TrainState:
    """Returns decoder and optimizer before the first step; for the rest see `decoders.build`.

    Raises:
      UserError: `encoder.tune_from` cannot be used, or the encoder is not that of the records.
    """
    total_steps = config.train.epochs * input_pipeline.steps_per_epoch(
        info, config.train.batch_size
    )
    upper = _read_upper_layers(config, info)
    with strategy.scope():
        decoder = tuned.build(
            config.model,
            info,
            upper,
            compute_dtype=compute_dtype,
            seed=config.seed,
            vectors=vectors,
            tune=config.train.encoder_learning_rate > 0,
        )
    return steps.create_state(
        strategy,
        lambda: decoder,
        lambda: build_for(decoder, config.train, total_steps),
        objectives.num_sums(config.train),
        scale_loss=compute_dtype in loss_scale.DTYPES,
    )


def _read_upper_layers(config: ConfigDict, info: records.Info) -> keras.Model | None:
    """Returns the encoder's layers that are trained with the decoder; None where there are none."""
    if not config.encoder.tune_from:
        return None
    upper, digest = upper_layers.load(config.encoder)
    info.check_encoder(config.records.dir, config.encoder, digest)
    return upper


def build_train_step(
    config: ConfigDict,
    state: TrainState,
    objective: Objective,
    strategy: tf.distribute.Strategy,
    batch_spec: Batch,
) -> Callable[..., StepOutput]:
    """Returns the graph of a step as the config says; see `steps`."""
    return steps.build_train_step(
        strategy,
        state,
        objective,
        seed=config.seed,
        clip_norm=config.train.clip_norm,
        batch_spec=batch_spec,
        accumulate_steps=config.train.accumulate_steps,
    )


def _log_start(run: Run) -> None:
    if run.first_step:
        epoch = run.first_step // run.steps_per_epoch + (not run.is_epoch_open())
        logging.info("continues at step %d of %d, epoch %d", run.first_step, run.total_steps, epoch)
    run.saved.log_disk_use(run.config.epochs)
