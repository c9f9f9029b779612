"""The signatures of an exported model, called on lists."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf


def caption(model: Any, images: list[bytes]) -> dict[str, np.ndarray]:
    """Returns the outputs of `serving_default` by name."""
    found = model.signatures["serving_default"](image_bytes=tf.constant(images, tf.string))
    return {name: value.numpy() for name, value in found.items()}


def score(model: Any, images: list[bytes], captions: list[str]) -> np.ndarray:
    """Returns how well captions fit their images, float32 [images]."""
    inputs = {"image_bytes": tf.constant(images), "caption": tf.constant(captions)}
    return model.signatures["score"](**inputs)["score"].numpy()
