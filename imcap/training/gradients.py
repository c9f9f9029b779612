"""The gradients of a replica's part of a batch: at once, or in parts one after another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from imcap.decoders.base import Dropout
from imcap.training.objectives import Batch, Objective, Randomness


class Seeds(NamedTuple):
    """What a step's random numbers depend on.

    Attributes:
      dropout: int32 [2], of the step and the replica.
      step: int32 [2], of the step, the same on all replicas.
    """

    dropout: tf.Tensor
    step: tf.Tensor


class Part(NamedTuple):
    """What is summed up over the parts of a batch.

    Attributes:
      gradients: of each term's total, by weight.
      counts: float32 [terms], what the totals are divided by for the terms' means.
      sums: float32 [n], the objective's.
    """

    gradients: list[list[tf.Tensor]]
    counts: tf.Tensor
    sums: tf.Tensor


def at_once(
    objective: Objective,
    weights: Sequence[tf.Tensor],
    batch: Batch,
    seeds: Seeds,
    scale: tf.Tensor | float = 1.0,
) -> tuple[list[tf.Tensor], tf.Tensor]:
    """Returns the gradients of a replica's share of the loss, and the objective's sums.

    Args:
      objective: what is minimized.
      weights: the decoder's, by which the loss is differentiated.
      batch: the replica's part.
      seeds: of the step.
      scale: what the loss is multiplied with.
    """
    with tf.GradientTape() as tape:
        outcome = objective(batch, Randomness(Dropout(seeds.dropout), seeds.step))
        counts = _sum_over_replicas([term.count for term in outcome.terms])
        # A batch of images without captions has a count of 0.
        means = [
            tf.math.divide_no_nan(term.total, count)
            for term, count in zip(outcome.terms, counts, strict=True)
        ]
        loss = tf.add_n(means) * scale
    # Word vectors that are not the output layer's have gradients of single rows, and a word
    # that occurs twice has two: clipping needs the norm of their sum.
    return [tf.convert_to_tensor(g) for g in tape.gradient(loss, weights)], outcome.sums


def in_parts(
    objective: Objective,
    weights: Sequence[tf.Tensor],
    batch: Batch,
    seeds: Seeds,
    scale: tf.Tensor | float = 1.0,
    *,
    parts: int,
) -> tuple[list[tf.Tensor], tf.Tensor]:
    """Like `at_once`, but for rounding and dropout's masks, with the memory of one part.

    A mean over the batch is no mean of the parts' means: totals and counts are summed up apart.

    Args:
      objective, weights, batch, seeds, scale: see `at_once`.
      parts: how many; no more than there are images.
    """
    count = tf.minimum(parts, tf.shape(batch["features"])[0])

    def take(number: tf.Tensor | int) -> Part:
        dropout = tf.random.experimental.stateless_fold_in(seeds.dropout, number)
        part = _slice(batch, number, count)
        return _part(objective, weights, part, Seeds(dropout, seeds.step), scale)

    _, total = tf.while_loop(
        lambda number, _: number < count,
        lambda number, total: (number + 1, tf.nest.map_structure(tf.add, total, take(number))),
        (1, take(0)),
        parallel_iterations=1,
    )
    return _mean_gradients(total), total.sums


def _part(
    objective: Objective,
    weights: Sequence[tf.Tensor],
    batch: Batch,
    seeds: Seeds,
    scale: tf.Tensor | float,
) -> Part:
    with tf.GradientTape(persistent=True) as tape:
        outcome = objective(batch, Randomness(Dropout(seeds.dropout), seeds.step))
        totals = [term.total * scale for term in outcome.terms]
    gradients = [
        [
            tf.convert_to_tensor(gradient)
            for gradient in tape.gradient(
                total, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO
            )
        ]
        for total in totals
    ]
    return Part(gradients, tf.stack([term.count for term in outcome.terms]), outcome.sums)


def _slice(batch: Batch, number: tf.Tensor | int, parts: tf.Tensor) -> Batch:
    """Returns one of nearly equal parts of a batch."""
    size = tf.shape(batch["features"])[0]
    start, end = number * size // parts, (number + 1) * size // parts
    return {key: value[start:end] for key, value in batch.items()}


def _mean_gradients(total: Part) -> list[tf.Tensor]:
    """Returns the gradients of the sum of the terms' means over all replicas."""
    counts = _sum_over_replicas(tf.unstack(total.counts))
    means = [
        [tf.math.divide_no_nan(gradient, count) for gradient in gradients]
        for gradients, count in zip(total.gradients, counts, strict=True)
    ]
    return [tf.add_n(list(terms)) for terms in zip(*means, strict=True)]


def _sum_over_replicas(counts: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    context = tf.distribute.get_replica_context()
    return [context.all_reduce(tf.distribute.ReduceOp.SUM, count) for count in counts]
