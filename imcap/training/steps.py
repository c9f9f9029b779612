"""The state of a training, and the step that updates it on any number of replicas."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import keras
import tensorflow as tf

from imcap.decoders.base import Decoder, Dropout
from imcap.training.objectives import Batch, Objective, Randomness

_ALL_REPLICAS = -1  # In place of a replica's number in a seed.


@dataclasses.dataclass(frozen=True)
class TrainState:
    """Everything that a step changes.

    Attributes:
      decoder: its weights.
      optimizer: built for the decoder's weights; it takes gradients that are summed already, as
        `optimizer.TakesSummedGradients` do.
      step: int64 scalar, steps taken.
      sums: float32 [n + 1], since the epoch's start: the objective's sums (`Objective.SUMS`), then
        that of the steps' gradient norms.
    """

    decoder: Decoder
    optimizer: keras.optimizers.Optimizer
    step: tf.Variable
    sums: tf.Variable


class StepOutput(NamedTuple):
    """What a step returns; reading a value waits for the device.

    Attributes:
      shown: float32 scalar, of the step: what the objective's `SHOWN` names.
      gradient_norm: float32 scalar, the gradients' global norm before they are clipped.
      stop: float32 scalar, how many replicas' processes were asked to stop.
    """

    shown: tf.Tensor
    gradient_norm: tf.Tensor
    stop: tf.Tensor


def create_state(
    strategy: tf.distribute.Strategy,
    build_decoder: Callable[[], Decoder],
    build_optimizer: Callable[[], keras.optimizers.Optimizer],
    num_sums: int = 3,
) -> TrainState:
    """Returns the state before the first step, with variables on all of the strategy's devices."""
    with strategy.scope():
        decoder, optimizer = build_decoder(), build_optimizer()
        optimizer.build(decoder.trainable_variables)
        step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
        sums = tf.Variable(tf.zeros([num_sums + 1]), trainable=False, name="sums")
    return TrainState(decoder, optimizer, step, sums)


def build_train_step(
    strategy: tf.distribute.Strategy,
    state: TrainState,
    objective: Objective,
    *,
    seed: int,
    clip_norm: float,
    batch_spec: Batch,
) -> Callable[..., StepOutput]:
    """Returns a graph that takes a batch and updates the state.

    Args:
      strategy: the state's.
      state: what is updated.
      objective: what is minimized.
      seed: with the step it decides what the objective draws, with the step and the replica
        dropout's masks.
      clip_norm: largest global norm of the gradients (Pascanu et al., 2013); 0: not clipped.
      batch_spec: the TensorSpecs of `features` [batch, positions, channels] and `tokens` [batch,
        captions, length], as a distributed dataset's `element_spec`.

    Returns:
      A function of a distributed batch, and of whether this process was asked to stop: the sum over
      all processes comes back with the step, so that they can agree at no cost.
    """

    def replica_step(batch: Batch, stop: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        context = tf.distribute.get_replica_context()
        replica = context.replica_id_in_sync_group
        randomness = Randomness(
            Dropout(_seed(seed, state.step, replica)), _seed(seed, state.step, _ALL_REPLICAS)
        )
        weights = [weight.value for weight in state.decoder.trainable_variables]
        with tf.GradientTape() as tape:
            outcome = objective(batch, randomness)
            means = [
                term.total / context.all_reduce(tf.distribute.ReduceOp.SUM, term.count)
                for term in outcome.terms
            ]
            loss = tf.add_n(means)
        # Word vectors that are not the output layer's have gradients of single rows, and a word
        # that occurs twice has two: clipping needs the norm of their sum.
        gradients = [tf.convert_to_tensor(g) for g in tape.gradient(loss, weights)]
        # Replicas' gradients are summed before they are clipped: only the sum's norm is the same
        # for any number of replicas.
        gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        gradients, norm = _clip(gradients, clip_norm)
        state.optimizer.apply(gradients)
        return tf.concat([outcome.sums, [stop]], axis=0), norm

    def train_step(batch: Batch, stop: tf.Tensor) -> StepOutput:
        sums, norm = strategy.run(replica_step, args=(batch, stop))
        sums = strategy.reduce(tf.distribute.ReduceOp.SUM, sums, axis=None)
        norm = strategy.experimental_local_results(norm)[0]  # The same on all replicas.
        state.sums.assign_add(tf.concat([sums[:-1], [norm]], axis=0))
        state.step.assign_add(1)
        return StepOutput(objective.columns(sums)[objective.SHOWN], norm, sums[-1])

    graph = tf.function(train_step, input_signature=[batch_spec, tf.TensorSpec([])])
    flags = tf.constant(0.0), tf.constant(1.0)  # Made once: a new one is copied to the device.
    return lambda batch, stop=False: graph(batch, flags[stop])


def _clip(gradients: list[tf.Tensor], clip_norm: float) -> tuple[list[tf.Tensor], tf.Tensor]:
    """Returns gradients whose global norm is at most `clip_norm` (0: any), and their own norm."""
    if clip_norm:
        return tf.clip_by_global_norm(gradients, clip_norm)
    return gradients, tf.linalg.global_norm(gradients)


def _seed(seed: int, step: tf.Variable, replica: tf.Tensor | int) -> tf.Tensor:
    """Returns int32 [2], different for each step and replica."""
    pair = tf.stack([seed, tf.cast(step, tf.int32)])
    return tf.random.experimental.stateless_fold_in(pair, tf.cast(replica, tf.int32))
