"""Residual additions under concurrent calls."""

from __future__ import annotations

import subprocess
import sys

import keras
import numpy as np
import processes
import pytest

from imcap import config, encoders
from imcap.encoders import conv_add_fusion

layers = keras.layers
SIDE = 8


def copies(network: keras.Model) -> int:
    return sum(isinstance(layer, conv_add_fusion.Copy) for layer in network.layers)


def block(residual: str) -> keras.Model:
    """A residual block whose addition reads what `residual` says."""
    inputs = keras.Input((SIDE, SIDE, 3))
    x = layers.ReLU()(layers.Conv2D(4, 3, padding="same")(inputs))
    inner = layers.ReLU()(layers.Conv2D(4, 3, padding="same")(x))
    outer = layers.Conv2D(4, 3, padding="same")(inner)
    outputs = {
        "the convolution's own input": lambda: layers.Add()([inner, outer]),
        "the same, by operator": lambda: inner + outer,
        "the same, by operation": lambda: keras.ops.add(inner, outer),
        "the same, in a separable convolution": lambda: layers.Add()(
            [inner, layers.SeparableConv2D(4, 3, padding="same")(inner)]
        ),
        "the block's input": lambda: layers.Add()([x, outer]),
        "an input of a later layer": lambda: layers.Add()([x, outer]) * x,
        "an output": lambda: [layers.Add()([outer, x]), x],
        "another convolution": lambda: layers.Add()([layers.Conv2D(4, 1)(x), outer]),
        "no convolution": lambda: layers.Add()([x, layers.ReLU()(x)]),
    }[residual]()
    return keras.Model(inputs, outputs)


@pytest.mark.parametrize(
    ("residual", "count"),
    [
        ("the convolution's own input", 1),
        ("the same, by operator", 1),
        ("the same, by operation", 1),
        ("the same, in a separable convolution", 1),
        ("the block's input", 0),
        ("an input of a later layer", 1),
        ("an output", 1),
        ("another convolution", 0),
        ("no convolution", 0),
    ],
)
def test_a_residual_that_is_still_read_is_copied(residual, count) -> None:
    keras.utils.set_random_seed(1)
    assert_guarded(block(residual), count)


def assert_guarded(network: keras.Model, count: int) -> None:
    """Checks that the guarded network has `count` copies and computes the same."""
    guarded = conv_add_fusion.guard(network)
    assert copies(guarded) == count
    images = np.random.default_rng(3).normal(size=(2, SIDE, SIDE, 3)).astype(np.float32)
    expected, found = (keras.tree.flatten(model(images)) for model in (network, guarded))
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_a_residual_of_a_network_as_a_layer_is_copied() -> None:
    keras.utils.set_random_seed(1)
    inputs = keras.Input((SIDE, SIDE, 3))
    inside = keras.Sequential([block("the convolution's own input"), layers.ReLU()])
    network = keras.Model(inputs, inside(inputs) + 1.0)
    assert_guarded(network, 1)


def test_a_residual_between_networks_as_layers_is_copied() -> None:
    keras.utils.set_random_seed(1)
    inputs = keras.Input((SIDE, SIDE, 3))
    x = layers.ReLU()(inputs)
    convolution = keras.Sequential([keras.Input((SIDE, SIDE, 3)), layers.Conv2D(3, 1)])
    assert_guarded(keras.Model(inputs, x + convolution(x)), 1)


@pytest.mark.parametrize("name", ["ResNet50", "MobileNetV2"])
def test_common_networks_need_no_copy(name) -> None:
    settings = config.default().encoder
    settings.name, settings.weights, settings.image_size = name, "", 32
    assert copies(encoders.build(settings).network) == 0


# Run in a process of its own, which the race crashes.
CONCURRENT_CALLS = """
import threading
import numpy as np, tensorflow as tf
from imcap import config, encoders

settings = config.default().encoder
settings.name, settings.weights, settings.image_size = "custom_cnn", "", 32
encode = tf.function(encoders.build(settings), reduce_retracing=True, autograph=False)
images = np.random.default_rng(0).uniform(0, 255, (4, 16, 32, 32, 3)).astype(np.float32)
expected = [encode(batch).numpy() for batch in images]
wrong = []

def call(first):
    for step in range(400):
        index = (first + step) % 4
        if not np.array_equal(encode(images[index]), expected[index]):
            wrong.append(index)

threads = [threading.Thread(target=call, args=(first,)) for first in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(len(wrong), "wrong")
"""


def test_concurrent_calls_give_the_same_features() -> None:
    command = [sys.executable, "-c", CONCURRENT_CALLS]
    ended = subprocess.run(
        command, cwd=processes.ROOT, capture_output=True, text=True, timeout=240, check=False
    )
    assert ended.stdout == "0 wrong\n", ended.stderr[-2000:]
