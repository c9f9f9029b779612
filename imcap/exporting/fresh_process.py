"""Captions images with nothing but TensorFlow, as a process of its own: `python fresh_process.py
FOLDER`, with an image in base64 on each line of stdin.

Prints `Answers` as JSON. It imports nothing of imcap, and tensorflow-text cannot be imported.
"""

from __future__ import annotations

import base64
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

_BATCH = 8
_REPEATS = 10


def _seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def _answer(folder: str, images: list[bytes]) -> dict[str, Any]:
    sys.modules["tensorflow_text"] = None  # type: ignore[assignment]
    import tensorflow as tf

    start = time.perf_counter()
    signatures = tf.saved_model.load(folder).signatures
    load_seconds = time.perf_counter() - start
    caption, score = signatures["serving_default"], signatures["score"]
    first = _seconds(lambda: caption(image_bytes=tf.constant(images[:1])))
    steady = [
        _seconds(lambda: caption(image_bytes=tf.constant(images[:1]))) for _ in range(_REPEATS)
    ]
    captions: list[str] = []
    scores: list[float] = []
    given: list[float] = []
    for index in range(0, len(images), _BATCH):
        batch = tf.constant(images[index : index + _BATCH])
        found = caption(image_bytes=batch)
        captions += [one.decode() for one in found["caption"].numpy()]
        scores += found["score"].numpy().tolist()
        given += score(image_bytes=batch, caption=found["caption"])["score"].numpy().tolist()
    return {
        "captions": captions,
        "scores": scores,
        "scores_of_captions": given,
        "load_seconds": load_seconds,
        "first_seconds": first,
        "steady_seconds": statistics.median(steady),
    }


if __name__ == "__main__":
    print(json.dumps(_answer(sys.argv[1], [base64.b64decode(line) for line in sys.stdin])))
