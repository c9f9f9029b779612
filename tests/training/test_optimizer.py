"""The learning rate's schedule, and gradients that are summed over replicas already."""

from __future__ import annotations

import keras
import numpy as np
import processes
import pytest
import tensorflow as tf

from imcap import config as config_lib
from imcap.training.optimizer import SummedAdamW, TakesSummedGradients, build_optimizer

REPLICAS = 2


def test_the_learning_rate_warms_up_and_decays_to_zero():
    config = config_lib.default().train
    optimizer = build_optimizer(config, total_steps=100)
    rates = []
    for step in (0, 5, 10, 55, 100):
        optimizer.iterations.assign(step)
        rates.append(float(optimizer.learning_rate))
    peak = config.learning_rate
    np.testing.assert_allclose(rates, [0, peak / 2, peak, peak / 2, 0], atol=1e-8)


class SummedSGD(TakesSummedGradients, keras.optimizers.SGD):
    """Unlike Adam's, its updates are proportional to the gradient."""


def apply_on_replicas(optimizer_class: type, expected: float) -> None:
    """Applies a gradient of 3 to a weight of 10 on each of two replicas, at a rate of 1."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * REPLICAS
    )
    strategy = tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(REPLICAS)])
    with strategy.scope():
        weight = keras.Variable([10.0])
        optimizer = optimizer_class(1.0)
        optimizer.build([weight])
    tf.function(strategy.run)(lambda: optimizer.apply([tf.constant([3.0])]))
    copies = strategy.experimental_local_results(weight.value)
    assert [float(copy[0]) for copy in copies] == [expected] * REPLICAS


@pytest.mark.parametrize(
    ("optimizer_class", "expected"), [(SummedSGD, 7.0), (keras.optimizers.SGD, 4.0)]
)
def test_summed_gradients_are_not_summed_again(optimizer_class, expected):
    process = processes.fork(apply_on_replicas, optimizer_class, expected)
    process.join(60)
    assert process.exitcode == 0


def test_training_uses_the_optimizer_for_summed_gradients():
    assert issubclass(SummedAdamW, TakesSummedGradients)
    assert isinstance(build_optimizer(config_lib.default().train, 10), SummedAdamW)
