"""AdamW with linear warm-up and cosine decay."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf
from ml_collections import ConfigDict

from imcap.decoders.base import Decoder
from imcap.decoders.tuned import TunedDecoder


class TakesSummedGradients:
    """Makes a Keras optimizer take gradients that are summed over all replicas already.

    Clipping by the global norm needs the sum, and Keras would add up the replicas' gradients a
    second time. Keras has no public setting for it. The public way, gradients divided by the number
    of replicas, would send all gradients between the workers twice in every step.
    tests/training/test_optimizer.py fails if a Keras version changes the method.
    """

    def _all_reduce_sum_gradients(self, grads_and_vars: Iterable[Any]) -> list[Any]:
        return list(grads_and_vars)


class SummedAdamW(TakesSummedGradients, keras.optimizers.AdamW):
    """AdamW for summed gradients."""


class TwoOptimizers(tf.Module):
    """An optimizer of the first variables, and one of the others, as one: for two learning rates.

    It has what `steps` calls of a Keras optimizer.
    """

    def __init__(
        self,
        first: keras.optimizers.Optimizer,
        second: keras.optimizers.Optimizer,
        num_first: int,
    ) -> None:
        """`num_first`: how many of the variables the first one updates."""
        super().__init__()
        self._first, self._second, self._num_first = first, second, num_first

    @property
    def learning_rate(self) -> Any:
        """The first one's."""
        return self._first.learning_rate

    def build(self, variables: Sequence[Any]) -> None:
        """Creates the optimizers' variables."""
        self._first.build(variables[: self._num_first])
        self._second.build(variables[self._num_first :])

    def apply(self, gradients: Sequence[tf.Tensor]) -> None:
        """Updates the variables by their gradients, in the order of `build`."""
        self._first.apply(gradients[: self._num_first])
        self._second.apply(gradients[self._num_first :])


def build_for(
    decoder: Decoder, config: ConfigDict, total_steps: int
) -> keras.optimizers.Optimizer | TwoOptimizers:
    """Returns what updates a decoder's weights; `train.encoder_learning_rate` is that of the
    encoder's layers that are trained with it. For the rest see `build_optimizer`."""
    optimizer = build_optimizer(config, total_steps)
    if not isinstance(decoder, TunedDecoder) or not decoder.upper_layers.trainable_weights:
        return optimizer
    slower = build_optimizer(config, total_steps, config.encoder_learning_rate)
    return TwoOptimizers(optimizer, slower, len(decoder.decoder.trainable_weights))


def build_optimizer(
    config: ConfigDict, total_steps: int, learning_rate: float | None = None
) -> keras.optimizers.Optimizer:
    """Returns AdamW (Loshchilov and Hutter, 2019); it is Adam where `weight_decay` is 0.

    Args:
      config: a config's `train` part.
      total_steps: of the training; the learning rate rises linearly over the first `warmup`
        fraction of them, and then falls to zero along a cosine.
      learning_rate: the largest one; None: `config.learning_rate`.
    """
    learning_rate = config.learning_rate if learning_rate is None else learning_rate
    warmup = round(config.warmup * total_steps)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else learning_rate,
        decay_steps=max(total_steps - warmup, 1),
        warmup_target=learning_rate if warmup else None,
        warmup_steps=warmup,
    )
    return SummedAdamW(schedule, weight_decay=config.weight_decay, beta_2=0.98, epsilon=1e-8)
