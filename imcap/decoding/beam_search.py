"""Greedy and beam search for any decoder, as one batched graph function.

The dev captions of a training, evaluation and the exported model all call `search`.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf
from ml_collections import ConfigDict

from imcap.decoders.base import NO_DROPOUT, DecoderLike, State
from imcap.text import END, PAD, START, UNKNOWN

_MASKED = -1e9  # Below any log-probability, yet finite: sums of it are not NaN.


class SearchResult(NamedTuple):
    """The captions found, in descending order of `ranks`.

    Attributes:
      tokens: int32 [batch, beam, max_length + 1]: at most `max_length` words, END, then 0.
      scores: float32 [batch, beam], mean log-probability per token, END included.
      ranks: float32 [batch, beam], the total log-probability, END included, divided by
        `length ** length_penalty`, where the length counts END, too.
    """

    tokens: tf.Tensor
    scores: tf.Tensor
    ranks: tf.Tensor


class _Beam(NamedTuple):
    """The unfinished and finished sequences of one step, in descending order of rank."""

    tokens: tf.Tensor  # int32 [batch, beam, max_length + 1]
    total: tf.Tensor  # float32 [batch, beam], sum of log-probabilities
    length: tf.Tensor  # float32 [batch, beam], tokens counted in `total`
    done: tf.Tensor  # bool [batch, beam]


def search(
    decoder: DecoderLike,
    features: tf.Tensor,
    config: ConfigDict,
    beam_size: tf.Tensor | None = None,
) -> SearchResult:
    """Beam search with length normalization (Wu et al., 2016, with a plain power); a beam of 1
    is greedy search.

    A sequence that has ended stays among the others with its rank, which is its total
    log-probability divided by `length ** length_penalty`. Padding, START and [UNK] are never
    chosen, nor the same word twice in a row, nor an n-gram (`no_repeat_ngram`) for the second
    time. After `max_length` words only END can follow, and its log-probability counts as that of
    any END: `log_probability` of a caption is what the search gave it.

    Args:
      decoder: any.
      features: [batch, positions, channels].
      config: a config's `decode` part.
      beam_size: int32 [], in place of `config.beam_size`, for a graph of any batch size whose
        caller chooses it.

    Returns:
      `SearchResult` with as many captions for each image as the beam is wide.
    """
    width = config.beam_size if beam_size is None else beam_size
    max_length = config.max_length
    memory, carry = decoder.start(features, width, NO_DROPOUT)
    beam = _initial_beam(tf.shape(features)[0], width, max_length + 1)
    previous = tf.fill(tf.shape(beam.total), START)

    def is_running(time: tf.Tensor, beam: _Beam, *_: object) -> tf.Tensor:
        return (time <= max_length) & tf.logical_not(tf.reduce_all(beam.done))

    def advance(
        time: tf.Tensor, beam: _Beam, previous: tf.Tensor, carry: State
    ) -> tuple[tf.Tensor, _Beam, tf.Tensor, State]:
        logits, carry = decoder.step(previous, memory, carry)
        scores = _mask_forbidden(
            tf.nn.log_softmax(logits), beam, previous, time, config.no_repeat_ngram
        )
        beam, parents = _select(scores, beam, time, config.length_penalty)
        carry = tf.nest.map_structure(lambda x: tf.gather(x, parents, batch_dims=1), carry)
        return time + 1, beam, beam.tokens[:, :, time], carry

    _, beam, *_ = tf.while_loop(
        is_running, advance, (0, beam, previous, carry), maximum_iterations=max_length + 1
    )
    return SearchResult(
        beam.tokens,
        beam.total / tf.maximum(beam.length, 1.0),
        _ranks(beam.total, beam.length, config.length_penalty),
    )


def _initial_beam(batch: tf.Tensor, width: int | tf.Tensor, columns: int) -> _Beam:
    # All sequences are alike at first: mask all but the first, or each caption would come `width`
    # times.
    total = tf.where(tf.range(width) == 0, 0.0, _MASKED)
    return _Beam(
        tf.fill([batch, width, columns], PAD),
        tf.tile(total[tf.newaxis], [batch, 1]),
        tf.zeros([batch, width]),
        tf.zeros([batch, width], tf.bool),
    )


def _mask_forbidden(
    scores: tf.Tensor, beam: _Beam, previous: tf.Tensor, time: tf.Tensor, ngram: int
) -> tf.Tensor:
    """Masks the tokens that may not come next in log-probabilities [batch, beam, vocab_size]."""
    size = scores.shape[-1]
    never = tf.reduce_sum(tf.one_hot([PAD, UNKNOWN, START], size), axis=0)
    masked = scores + _MASKED * (never + tf.one_hot(previous, size))
    if ngram:
        masked = _mask_repeats(masked, beam.tokens, time, ngram)
    is_last = time == beam.tokens.shape[-1] - 1
    masked = tf.where(is_last, scores + _all_but(END, size), masked)
    # A finished sequence continues with padding, which adds 0 to its total.
    return tf.where(beam.done[..., tf.newaxis], _all_but(PAD, size), masked)


def _all_but(token: int, size: int) -> tf.Tensor:
    """Returns 0 for one token and the mask for all others, [size]."""
    return _MASKED * (1 - tf.one_hot(token, size))


def _mask_repeats(scores: tf.Tensor, tokens: tf.Tensor, time: tf.Tensor, ngram: int) -> tf.Tensor:
    """Masks each token that would complete an n-gram which its sequence already contains."""
    prefix = ngram - 1
    length = tokens.shape[-1]
    if length < ngram:
        return scores
    # The last n - 1 tokens, [batch, beam, n - 1]; before there are as many, none match.
    last = tf.gather(tokens, tf.maximum(time - prefix + tf.range(prefix), 0), axis=2)
    windows = length - prefix
    matches = tf.ones_like(tokens[..., :windows], tf.bool)
    for offset in range(prefix):
        matches &= tokens[..., offset : offset + windows] == last[..., offset, tf.newaxis]
    matches &= (tf.range(windows) + prefix < time) & (time >= prefix)
    where = tf.where(matches)
    followers = tf.gather_nd(tokens[..., prefix:], where)
    index = tf.concat([where[:, :2], tf.cast(followers, tf.int64)[:, tf.newaxis]], axis=1)
    return tf.tensor_scatter_nd_add(scores, index, tf.fill(tf.shape(followers), _MASKED))


def _select(
    scores: tf.Tensor, beam: _Beam, time: tf.Tensor, length_penalty: float
) -> tuple[_Beam, tf.Tensor]:
    """Returns the continuations of highest rank and the sequences they extend, [batch, beam]."""
    width, size = scores.shape[1] or tf.shape(scores)[1], scores.shape[2]
    total = beam.total[..., tf.newaxis] + scores
    length = beam.length + tf.cast(tf.logical_not(beam.done), tf.float32)
    ranks = _ranks(total, length[..., tf.newaxis], length_penalty)
    _, best = tf.math.top_k(tf.reshape(ranks, (-1, width * size)), width)
    parents, chosen = best // size, best % size
    done = tf.gather(beam.done, parents, batch_dims=1)
    tokens = tf.gather(beam.tokens, parents, batch_dims=1)
    column = tf.range(tokens.shape[-1]) == time
    tokens = tf.where(column, chosen[..., tf.newaxis], tokens)
    return _Beam(
        tokens,
        tf.gather(tf.reshape(total, (-1, width * size)), best, batch_dims=1),
        tf.gather(length, parents, batch_dims=1),
        done | (chosen == END),
    ), parents


def _ranks(total: tf.Tensor, length: tf.Tensor, length_penalty: float) -> tf.Tensor:
    return total / tf.pow(tf.maximum(length, 1.0), length_penalty)


def log_probability(
    decoder: DecoderLike, features: tf.Tensor, tokens: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns how well given captions fit their images.

    Args:
      decoder: any.
      features: [batch, positions, channels].
      tokens: int32 [batch, captions, length], START first, 0 after the end.

    Returns:
      float32 [batch, captions] each: the captions' log-probabilities, and how many tokens they
      are the sums of, END included and START not (0 for a missing caption).
    """
    vectors = decoder.output_vectors(features, tokens[..., :-1], NO_DROPOUT)
    logits, targets = decoder.logits(vectors), tokens[..., 1:]
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
    mask = tf.cast(targets != PAD, tf.float32)
    return -tf.reduce_sum(losses * mask, -1), tf.reduce_sum(mask, -1)
