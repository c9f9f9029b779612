"""The learning rate's schedule, and gradients that are summed over replicas already."""

from __future__ import annotations

import keras
import numpy as np
import processes
import pytest
import tensorflow as tf
from small_decoders import CHANNELS, make_decoder

from imcap import config as config_lib
from imcap.config import train_defaults
from imcap.decoders.tuned import TunedDecoder
from imcap.encoders.upper_layers import UpperLayers
from imcap.training.optimizer import (
    SummedAdamW,
    TakesSummedGradients,
    build_for,
    build_optimizer,
)

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
    tf.function(strategy.run, autograph=False)(lambda: optimizer.apply([tf.constant([3.0])]))
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


def make_tuned(trainable: bool) -> TunedDecoder:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((2, 2, 3))
    network = keras.Model(inputs, keras.layers.Conv2D(CHANNELS, 1)(inputs))
    return TunedDecoder(make_decoder("merge"), UpperLayers(network, (2, 2), trainable=trainable))


def changes_of_a_step(decoder: TunedDecoder, **settings) -> list[np.ndarray]:
    """How much each weight changes in the first step, all gradients being 1."""
    config = train_defaults()
    config.update(warmup=0.0, learning_rate=1e-2, encoder_learning_rate=1e-4, **settings)
    optimizer = build_for(decoder, config, 10)
    optimizer.build(decoder.trainable_variables)
    before = [weight.numpy() for weight in decoder.weights]
    optimizer.apply([tf.ones(weight.shape) for weight in decoder.trainable_variables])
    assert float(optimizer.learning_rate) < 1e-2
    return [old - weight.numpy() for old, weight in zip(before, decoder.weights, strict=True)]


def test_layers_of_the_encoder_have_a_learning_rate_of_their_own() -> None:
    *first, kernel, bias = changes_of_a_step(make_tuned(trainable=True))
    for change in first:
        np.testing.assert_allclose(change, 1e-2, rtol=1e-2)
    np.testing.assert_allclose(kernel, 1e-4, rtol=1e-2)
    np.testing.assert_allclose(bias, 1e-4, rtol=1e-2)


def test_weight_decay_of_the_encoder_s_layers_is_by_their_own_rate() -> None:
    decoder = make_tuned(trainable=True)
    kernel = decoder.upper_layers.weights[0].numpy()
    found = changes_of_a_step(decoder, weight_decay=10.0)[-2]
    np.testing.assert_allclose(found, 1e-4 + 1e-3 * kernel, atol=2e-6)


def test_layers_of_the_encoder_that_are_kept_have_no_optimizer() -> None:
    *first, kernel, bias = changes_of_a_step(make_tuned(trainable=False))
    assert not kernel.any() and not bias.any()
    assert all(change.any() for change in first)
