"""Where a decoder looks: its attention weights for each token of a given caption, in graph."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from imcap import text
from imcap.decoders.base import NO_DROPOUT, DecoderLike, State

KEY = "attention"  # In the carry of a decoder that has attention.


def has_attention(decoder: DecoderLike, shape: Sequence[int]) -> bool:
    """Tells whether a decoder gives attention weights; `shape`: (positions, channels) of what it
    starts from."""
    _, carry = decoder.start(tf.zeros([1, *shape]), 1, NO_DROPOUT)
    return KEY in carry


def without(carry: State) -> State:
    """Returns a carry without the attention weights, also those of an ensemble's members: no step
    reads them."""
    return {key: value for key, value in carry.items() if key.rpartition(".")[2] != KEY}


def attention_weights(decoder: DecoderLike, features: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor:
    """Returns the weights with which each token was chosen.

    Args:
      decoder: one with attention.
      features: [batch, positions, channels].
      tokens: int32 [batch, length], without START; 0 after the end.

    Returns:
      float32 [batch, length, positions]: for each token, weights that add up to 1; zeros after the
      end.
    """
    memory, carry = decoder.start(features, 1, NO_DROPOUT)
    start = tf.fill([tf.shape(tokens)[0], 1], text.START)
    previous = tf.concat([start, tokens[:, :-1]], axis=1)
    length = tf.shape(tokens)[1]

    def advance(
        time: tf.Tensor, carry: State, weights: tf.TensorArray
    ) -> tuple[tf.Tensor, State, tf.TensorArray]:
        _, carry = decoder.step(previous[:, time, tf.newaxis], memory, carry)
        return time + 1, carry, weights.write(time, carry[KEY][:, 0])

    _, _, weights = tf.while_loop(
        lambda time, *_: time < length, advance, (0, carry, tf.TensorArray(tf.float32, length)),
        maximum_iterations=length,
    )  # fmt: skip
    is_token = tf.cast(tokens != text.PAD, tf.float32)
    return tf.transpose(weights.stack(), (1, 0, 2)) * is_token[..., tf.newaxis]
