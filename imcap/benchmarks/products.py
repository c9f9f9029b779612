"""Counts the floating-point operations of a decoder's matrix products, from its graphs."""

from __future__ import annotations

import math
from typing import NamedTuple

import tensorflow as tf
from ml_collections import ConfigDict

from imcap import decoders
from imcap.decoders.base import NO_DROPOUT

_PRODUCTS = ("MatMul", "BatchMatMulV2")


class Count(NamedTuple):
    """Operations of a forward pass; a multiplication and an addition are two."""

    per_image: int
    per_word: int


def count(config: ConfigDict, vocab_size: int, positions: int, channels: int) -> Count:
    """Counts the products of a decoder.

    Args:
      config: a config's `model` part.
      vocab_size: number of token ids.
      positions, channels: of an image's features.
    """
    decoder = decoders.build(config, vocab_size, channels)
    features = tf.zeros([1, positions, channels])
    start = tf.function(lambda x: decoder.start(x, 1, NO_DROPOUT), autograph=False)
    memory, carry = start(features)
    step = tf.function(decoder.step, autograph=False)
    tokens = tf.zeros([1, 1], tf.int32)
    return Count(
        _operations(start.get_concrete_function(features)),
        _operations(step.get_concrete_function(tokens, memory, carry)),
    )


def _operations(function: tf.types.experimental.ConcreteFunction) -> int:
    found = [op for op in function.graph.get_operations() if op.type in _PRODUCTS]
    return sum(2 * _multiplications(op) for op in found)


def _multiplications(op: tf.Operation) -> int:
    left = op.inputs[0].shape
    is_transposed = op.get_attr("transpose_a" if op.type == "MatMul" else "adj_x")
    return math.prod(op.outputs[0].shape) * left[-2 if is_transposed else -1]
