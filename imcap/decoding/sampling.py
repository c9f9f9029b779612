"""Sampling captions from any decoder's distribution, as one batched graph function."""

from __future__ import annotations

import tensorflow as tf

from imcap.decoders.base import NO_DROPOUT, Decoder, State
from imcap.text import END, PAD, START, UNKNOWN

_NEVER = (PAD, UNKNOWN, START)
_MASKED = -1e9  # Its exponential is 0, yet it is finite: products with 0 are not NaN.


def sampling_logits(logits: tf.Tensor, temperature: float = 1.0) -> tf.Tensor:
    """Returns logits of the distribution that `sample` draws from.

    Args:
      logits: of a decoder, float32 [..., vocab_size].
      temperature: the logits are divided by it: below 1 probable words become more probable.

    Returns:
      float32 [..., vocab_size], with padding, [UNK] and START masked.
    """
    never = tf.reduce_sum(tf.one_hot(_NEVER, logits.shape[-1]), axis=0)
    return logits / temperature + _MASKED * never


def uniform_rows(seed: tf.Tensor, keys: tf.Tensor, shape: list[int]) -> tf.Tensor:
    """Draws numbers in [0, 1); those of a row depend on the seed and on the row's key only, so
    that a batch can be cut in any way.

    Args:
      seed: int32 [2].
      keys: integers [batch].
      shape: of a row.

    Returns:
      float32 [batch, *shape].
    """

    def draw(key: tf.Tensor) -> tf.Tensor:
        row_seed = tf.random.experimental.stateless_fold_in(seed, key)
        return tf.random.stateless_uniform(shape, row_seed, alg="philox")

    return tf.map_fn(draw, keys, fn_output_signature=tf.TensorSpec(shape, tf.float32))


def sample(
    decoder: Decoder, features: tf.Tensor, uniforms: tf.Tensor, temperature: float = 1.0
) -> tf.Tensor:
    """Draws several captions for each image, word by word from the softmax over words and END.

    Padding, START and [UNK] are never drawn. After the last word that fits END follows with
    probability 1. No dropout is applied; all of it is float32.

    Args:
      decoder: any.
      features: [batch, positions, channels], any float dtype.
      uniforms: float32 [batch, samples, max_length], in [0, 1): each decides one token.
      temperature: see `sampling_logits`.

    Returns:
      int32 [batch, samples, max_length + 1]: at most `max_length` words, END, then 0.
    """
    batch, width = tf.unstack(tf.shape(uniforms)[:2])
    max_length = uniforms.shape[2]
    memory, carry = decoder.start(features, width, NO_DROPOUT)

    def is_running(time: tf.Tensor, previous: tf.Tensor, *_: object) -> tf.Tensor:
        return (time < max_length) & tf.logical_not(tf.reduce_all(_is_over(previous)))

    def advance(
        time: tf.Tensor, previous: tf.Tensor, tokens: tf.Tensor, carry: State
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, State]:
        logits, carry = decoder.step(previous, memory, carry)
        softmax = tf.nn.softmax(sampling_logits(logits, temperature))
        drawn = _invert(softmax, uniforms[:, :, time])
        drawn = tf.where(_is_over(previous), PAD, drawn)
        is_now = tf.range(max_length) == time
        return time + 1, drawn, tf.where(is_now, drawn[..., tf.newaxis], tokens), carry

    first = tf.fill([batch, width], START)
    tokens = tf.fill([batch, width, max_length], PAD)
    _, _, tokens, _ = tf.while_loop(
        is_running, advance, (0, first, tokens, carry), maximum_iterations=max_length
    )
    last = tf.where(_is_over(tokens[..., -1:]), PAD, END)
    return tf.concat([tokens, last], axis=-1)


def _is_over(token: tf.Tensor) -> tf.Tensor:
    """Tells whether only padding follows a token."""
    return (token == END) | (token == PAD)


def _invert(probabilities: tf.Tensor, uniforms: tf.Tensor) -> tf.Tensor:
    """Returns the tokens, int32 [...], at which the cumulative probabilities [..., vocab_size]
    exceed the uniform numbers [...]: a token of probability 0 never comes out."""
    cumulative = tf.cumsum(probabilities, axis=-1)
    # Rounding leaves the sum a little off 1.
    wanted = uniforms[..., tf.newaxis] * cumulative[..., -1:]
    below = tf.reduce_sum(tf.cast(cumulative <= wanted, tf.int32), axis=-1)
    return tf.minimum(below, probabilities.shape[-1] - 1)
