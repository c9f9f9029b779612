"""The state of a training, and the step that updates it on any number of replicas."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import keras
import tensorflow as tf

from imcap.decoders.base import Decoder
from imcap.training import gradients
from imcap.training.gradients import Seeds
from imcap.training.loss_scale import LossScale
from imcap.training.objectives import Batch, Objective

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
      loss_scale: where the dtype of matrix products needs one.
    """

    decoder: Decoder
    optimizer: keras.optimizers.Optimizer
    step: tf.Variable
    sums: tf.Variable
    loss_scale: LossScale | None = None


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
    *,
    scale_loss: bool = False,
) -> TrainState:
    """Returns the state before the first step, with variables on all of the strategy's devices."""
    with strategy.scope():
        decoder, optimizer = build_decoder(), build_optimizer()
        optimizer.build(decoder.trainable_variables)
        step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
        sums = tf.Variable(tf.zeros([num_sums + 1]), trainable=False, name="sums")
        loss_scale = LossScale() if scale_loss else None
    return TrainState(decoder, optimizer, step, sums, loss_scale)


def build_train_step(
    strategy: tf.distribute.Strategy,
    state: TrainState,
    objective: Objective,
    *,
    seed: int,
    clip_norm: float,
    batch_spec: Batch,
    accumulate_steps: int = 1,
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
      accumulate_steps: how many parts a replica's batch is computed in, one after another.

    Returns:
      A function of a distributed batch, and of whether this process was asked to stop: the sum over
      all processes comes back with the step, so that they can agree at no cost.
    """
    compute: Callable[..., tuple[list[tf.Tensor], tf.Tensor]] = gradients.at_once
    if accumulate_steps > 1:
        compute = functools.partial(gradients.in_parts, parts=accumulate_steps)
    scale = state.loss_scale

    def replica_step(batch: Batch, stop: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
        context = tf.distribute.get_replica_context()
        replica = context.replica_id_in_sync_group
        seeds = Seeds(_seed(seed, state.step, replica), _seed(seed, state.step, _ALL_REPLICAS))
        weights = [weight.value for weight in state.decoder.trainable_variables]
        scales = () if scale is None else (scale.value,)
        found, sums = compute(objective, weights, batch, seeds, *scales)
        # Replicas' gradients are summed before they are clipped: only the sum's norm is the same
        # for any number of replicas.
        found = context.all_reduce(tf.distribute.ReduceOp.SUM, found)
        if scale is not None:
            found = [gradient / scale.value for gradient in found]
        found, norm = _clip(found, clip_norm)
        if scale is None:
            state.optimizer.apply(found)
            found = []
        return tf.concat([sums, [stop]], axis=0), norm, found

    def train_step(batch: Batch, stop: tf.Tensor) -> StepOutput:
        sums, norm, found = strategy.run(replica_step, args=(batch, stop))
        sums = strategy.reduce(tf.distribute.ReduceOp.SUM, sums, axis=None)
        norm = strategy.experimental_local_results(norm)[0]  # The same on all replicas.
        if scale is not None:
            norm = _apply_if_finite(strategy, state.optimizer, scale, found, norm)
        state.sums.assign_add(tf.concat([sums[:-1], [norm]], axis=0))
        state.step.assign_add(1)
        return StepOutput(objective.columns(sums)[objective.SHOWN], norm, sums[-1])

    graph = tf.function(
        train_step, input_signature=[batch_spec, tf.TensorSpec([])], autograph=False
    )
    flags = tf.constant(0.0), tf.constant(1.0)  # Made once: a new one is copied to the device.
    return lambda batch, stop=False: graph(batch, flags[stop])


def _apply_if_finite(
    strategy: tf.distribute.Strategy,
    optimizer: keras.optimizers.Optimizer,
    scale: LossScale,
    found: list[tf.Tensor],
    norm: tf.Tensor,
) -> tf.Tensor:
    """Updates weights and loss scale; returns the norm, 0 where the scale was too large."""
    is_finite = tf.math.is_finite(norm)

    def update() -> tf.Tensor:
        strategy.run(optimizer.apply, args=(found,))
        return tf.constant(True)

    tf.cond(is_finite, update, lambda: tf.constant(False))
    scale.update(is_finite)
    return tf.where(is_finite | scale.is_exhausted(), norm, 0.0)


def _clip(gradients: list[tf.Tensor], clip_norm: float) -> tuple[list[tf.Tensor], tf.Tensor]:
    """Returns gradients whose global norm is at most `clip_norm` (0: any), and their own norm."""
    if clip_norm:
        return tf.clip_by_global_norm(gradients, clip_norm)
    return gradients, tf.linalg.global_norm(gradients)


def _seed(seed: int, step: tf.Variable, replica: tf.Tensor | int) -> tf.Tensor:
    """Returns int32 [2], different for each step and replica."""
    pair = tf.stack([seed, tf.cast(step, tf.int32)])
    return tf.random.experimental.stateless_fold_in(pair, tf.cast(replica, tf.int32))
