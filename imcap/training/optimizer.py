"""AdamW with linear warm-up and cosine decay."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
from ml_collections import ConfigDict


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


def build_optimizer(config: ConfigDict, total_steps: int) -> keras.optimizers.Optimizer:
    """Returns AdamW (Loshchilov and Hutter, 2019); it is Adam where `weight_decay` is 0.

    Args:
      config: a config's `train` part.
      total_steps: of the training; the learning rate rises linearly over the first `warmup`
        fraction of them, and then falls to zero along a cosine.
    """
    warmup = round(config.warmup * total_steps)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else config.learning_rate,
        decay_steps=max(total_steps - warmup, 1),
        warmup_target=config.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
    return SummedAdamW(schedule, weight_decay=config.weight_decay, beta_2=0.98, epsilon=1e-8)
