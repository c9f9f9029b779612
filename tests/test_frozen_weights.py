"""Weights that a process promises not to change."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import processes
import pytest

_CHANGED = """
import sys
from imcap import inference
if sys.argv[1] == "frozen":
    inference.assume_frozen_weights()
import tensorflow as tf

kernel = tf.Variable(tf.ones([3, 3, 8, 16]))
convolve = tf.function(lambda images: tf.nn.conv2d(images, kernel, 1, "SAME"))
images = tf.ones([8, 14, 14, 8])
before = convolve(images)
kernel.assign(2 * kernel)
print(float(tf.reduce_max(convolve(images) / before)))
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="oneDNN is for x86")
@pytest.mark.parametrize(("weights", "times"), [("frozen", 1.0), ("free", 2.0)])
def test_convolutions_keep_frozen_weights_as_they_first_saw_them(weights, times):
    command = [sys.executable, "-c", _CHANGED, weights]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TF_ONEDNN")}
    found = subprocess.run(
        command,
        cwd=processes.ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env=environment,
    )
    assert float(found.stdout) == times
