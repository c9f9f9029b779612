"""The state of a training, and the step that updates it on any number of replicas."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

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
      sums: float32 [n], the objective's sums since the epoch's start; see `Objective.SUMS`.
    """

    decoder: Decoder
    optimizer: keras.optimizers.Optimizer
    step: tf.Variable
    sums: tf.Variable


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
        sums = tf.Variable(tf.zeros([num_sums]), trainable=False, name="sums")
    return TrainState(decoder, optimizer, step, sums)


def build_train_step(
    strategy: tf.distribute.Strategy,
    state: TrainState,
    objective: Objective,
    *,
    seed: int,
    clip_norm: float,
    batch_spec: Batch,
) -> Callable[[Batch], tf.Tensor]:
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
      A function of a distributed batch; its result, float32, is what the objective's `SHOWN` names.
    """

    def replica_step(batch: Batch) -> tf.Tensor:
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
        if clip_norm:
            gradients, _ = tf.clip_by_global_norm(gradients, clip_norm)
        state.optimizer.apply(gradients)
        return outcome.sums

    def train_step(batch: Batch) -> tf.Tensor:
        sums = strategy.run(replica_step, args=(batch,))
        sums = strategy.reduce(tf.distribute.ReduceOp.SUM, sums, axis=None)
        state.sums.assign_add(sums)
        state.step.assign_add(1)
        return objective.columns(sums)[objective.SHOWN]

    return tf.function(train_step, input_signature=[batch_spec])


def _seed(seed: int, step: tf.Variable, replica: tf.Tensor | int) -> tf.Tensor:
    """Returns int32 [2], different for each step and replica."""
    pair = tf.stack([seed, tf.cast(step, tf.int32)])
    return tf.random.experimental.stateless_fold_in(pair, tf.cast(replica, tf.int32))
