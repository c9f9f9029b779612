"""Greedy and beam search for any decoder, as one batched graph function.

The dev captions of a training, evaluation and the exported model all call `search`.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf
from ml_collections import ConfigDict

from imcap.decoders.base import NO_DROPOUT, DecoderLike, State
from imcap.decoding import attention
from imcap.decoding.top_k import top_k
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


class _State(NamedTuple):
    """What a step reads and changes."""

    beam: _Beam
    previous: tf.Tensor  # int32 [images, beam], the last tokens
    carry: State


class _Running(NamedTuple):
    """The images that have unfinished sequences."""

    images: tf.Tensor  # int32 [images], their rows in the batch
    memory: State
    state: _State


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
      features: [batch, positions, channels], any float dtype.
      config: a config's `decode` part.
      beam_size: int32 [], in place of `config.beam_size`, for a graph of any batch size whose
        caller chooses it.

    Returns:
      `SearchResult` with as many captions for each image as the beam is wide.
    """
    width = config.beam_size if beam_size is None else beam_size
    last = config.max_length
    memory, carry = decoder.start(features, width, NO_DROPOUT)
    batch = tf.shape(features)[0]
    beam = _initial_beam(batch, width, last + 1)
    state = _State(beam, tf.fill(tf.shape(beam.total), START), attention.without(carry))
    running = _Running(tf.range(batch), memory, state)

    def is_running(time: tf.Tensor, running: _Running, found: _Beam) -> tf.Tensor:
        return (time <= last) & (tf.size(running.images) > 0)

    def advance(
        time: tf.Tensor, running: _Running, found: _Beam
    ) -> tuple[tf.Tensor, _Running, _Beam]:
        time, state = _run_until_one_ends(decoder, running, time, config)
        return time, *_remove_finished(running._replace(state=state), found)

    invariants = tf.TensorShape([]), *tf.nest.map_structure(_of_any_batch, (running, beam))
    _, _, beam = tf.while_loop(
        is_running, advance, (0, running, beam), invariants, maximum_iterations=last + 1
    )
    return SearchResult(
        beam.tokens,
        beam.total / tf.maximum(beam.length, 1.0),
        _ranks(beam.total, beam.length, config.length_penalty),
    )


def _run_until_one_ends(
    decoder: DecoderLike, running: _Running, time: tf.Tensor, config: ConfigDict
) -> tuple[tf.Tensor, _State]:
    """Advances all sequences until those of an image have all ended.

    A loop of its own, as each step of it has fewer operations than one that may remove images: with
    one image these take as long as the matrix products.
    """

    def goes_on(time: tf.Tensor, state: _State) -> tf.Tensor:
        return ~tf.reduce_any(tf.reduce_all(state.beam.done, axis=1))

    def advance(time: tf.Tensor, state: _State) -> tuple[tf.Tensor, _State]:
        logits, carry = decoder.step(state.previous, running.memory, state.carry)
        scores, tokens = _continue(logits, state, time, config.no_repeat_ngram)
        beam, chosen, parents = _select(scores, tokens, state.beam, time, config.length_penalty)
        carry = attention.without(carry)
        carry = tf.nest.map_structure(lambda x: tf.gather(x, parents, batch_dims=1), carry)
        return time + 1, _State(beam, chosen, carry)

    return tf.while_loop(goes_on, advance, (time, running.state))


def _of_any_batch(x: tf.Tensor) -> tf.TensorShape:
    return tf.TensorShape([None, *x.shape[1:]])


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


def _remove_finished(running: _Running, found: _Beam) -> tuple[_Running, _Beam]:
    """Moves the images all of whose sequences have ended from what is running to what is found."""
    is_finished = tf.reduce_all(running.state.beam.done, axis=1)
    rows = tf.boolean_mask(running.images, is_finished)[:, tf.newaxis]
    ended = tf.nest.map_structure(lambda x: tf.boolean_mask(x, is_finished), running.state.beam)
    moved = tf.nest.map_structure(
        lambda x, y: tf.tensor_scatter_nd_update(x, rows, y), found, ended
    )
    unfinished = tf.where(~is_finished)[:, 0]
    return tf.nest.map_structure(lambda x: tf.gather(x, unfinished), running), moved


def _continue(
    logits: tf.Tensor, state: _State, time: tf.Tensor, ngram: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the log-probabilities and tokens of the best continuations of each sequence,
    [batch * beam, continuations]; a beam needs no more of them than it is wide."""
    beam, size = state.beam, logits.shape[-1]
    width = logits.shape[1] or tf.shape(logits)[1]
    logits = tf.reshape(logits, (-1, size))
    best, tokens = top_k(_mask_forbidden(logits, state, time, ngram), width)
    normalizers = tf.reduce_logsumexp(logits, axis=1, keepdims=True)
    # A finished sequence continues with padding, which adds 0 to its total. After the last word
    # only END can follow.
    done = tf.reshape(beam.done, (-1, 1))
    only = tf.where(done, PAD, END)
    score = tf.where(done, 0.0, logits[:, END, tf.newaxis] - normalizers)
    is_first = tf.range(tf.shape(tokens)[1]) == 0
    has_one = done | (time == beam.tokens.shape[-1] - 1)
    best = tf.where(has_one, tf.where(is_first, score, _MASKED), best - normalizers)
    return best, tf.where(has_one & is_first, only, tokens)


def _mask_forbidden(logits: tf.Tensor, state: _State, time: tf.Tensor, ngram: int) -> tf.Tensor:
    """Masks the tokens that may not come next in logits [batch * beam, vocab_size]."""
    size = logits.shape[-1]
    rows = tf.range(tf.shape(logits)[0])[:, tf.newaxis]
    tokens = [tf.reshape(state.previous, (-1, 1))]
    if ngram:
        tokens.append(_repeats(state.beam.tokens, time, ngram))
    tokens += [tf.fill(tf.shape(rows), token) for token in (PAD, UNKNOWN, START)]
    places = tf.reshape(tf.concat(tokens, axis=1) + size * rows, (-1, 1))
    masks = tf.fill(tf.shape(places)[:1], _MASKED)
    flat = tf.tensor_scatter_nd_update(tf.reshape(logits, [-1]), places, masks)
    return tf.reshape(flat, (-1, size))


def _repeats(tokens: tf.Tensor, time: tf.Tensor, ngram: int) -> tf.Tensor:
    """Returns tokens that would complete an n-gram that their sequence already contains, and
    padding, which never comes next: int32 [batch * beam, n]."""
    prefix = ngram - 1
    tokens = tf.reshape(tokens, (-1, tokens.shape[-1]))
    windows = max(0, tokens.shape[-1] - prefix)
    # The last n - 1 tokens. Before there are as many none match, as no word follows itself; nor do
    # windows of which a part is not written yet, or padding follows them.
    last = tf.gather(tokens, tf.maximum(time - prefix + tf.range(prefix), 0), axis=1)
    followers = tokens[:, prefix:]
    for offset in range(prefix):
        matches = tokens[:, offset : offset + windows] == last[:, offset, tf.newaxis]
        followers = tf.where(matches, followers, PAD)
    return followers


def _select(
    scores: tf.Tensor, tokens: tf.Tensor, beam: _Beam, time: tf.Tensor, length_penalty: float
) -> tuple[_Beam, tf.Tensor, tf.Tensor]:
    """Returns the continuations of highest rank, their last tokens, and the sequences that they
    extend, [batch, beam] each."""
    width, size = beam.total.shape[1] or tf.shape(beam.total)[1], tf.shape(scores)[1]
    scores, tokens = (tf.reshape(x, (-1, width, size)) for x in (scores, tokens))
    totals = beam.total[..., tf.newaxis] + scores
    length = beam.length + tf.cast(tf.logical_not(beam.done), tf.float32)
    ranks = _ranks(totals, length[..., tf.newaxis], length_penalty)
    _, best = tf.math.top_k(tf.reshape(ranks, (-1, width * size)), width)
    parents = best // size
    total, chosen = (
        tf.gather(tf.reshape(x, (-1, width * size)), best, batch_dims=1) for x in (totals, tokens)
    )
    history = tf.gather(beam.tokens, parents, batch_dims=1)
    column = tf.range(history.shape[-1]) == time
    extended = _Beam(
        tf.where(column, chosen[..., tf.newaxis], history),
        total,
        tf.gather(length, parents, batch_dims=1),
        tf.gather(beam.done, parents, batch_dims=1) | (chosen == END),
    )
    return extended, chosen, parents


def _ranks(total: tf.Tensor, length: tf.Tensor, length_penalty: float) -> tf.Tensor:
    return total / tf.pow(tf.maximum(length, 1.0), length_penalty)


def log_probability(
    decoder: DecoderLike, features: tf.Tensor, tokens: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns how well given captions fit their images.

    Args:
      decoder: any.
      features: [batch, positions, channels], any float dtype.
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
