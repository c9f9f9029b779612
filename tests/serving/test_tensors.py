"""What a signature returns, as Python values."""

from __future__ import annotations

import tensorflow as tf

from imcap.serving import tensors


def test_each_row_has_its_texts_and_the_shortest_floats():
    outputs = {"score": tf.constant([0.2, -1.5]), "captions": tf.constant([["a", "ä"], ["b", ""]])}
    assert tensors.unstack(outputs) == [
        {"score": 0.2, "captions": ["a", "ä"]},
        {"score": -1.5, "captions": ["b", ""]},
    ]
