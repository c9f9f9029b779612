"""Beam search as a Python loop over steps and beams, one image at a time, as im2txt has it.

Each step is a call of the decoder's graph for an image's unfinished captions, whose states go in
and out as arrays; a heap holds the best captions, finished ones included. Masks and ranks are those
of `imcap.decoding.beam_search`, so that the captions are the same.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from imcap.decoders.base import NO_DROPOUT, DecoderLike, State
from imcap.text import END, PAD, START, UNKNOWN

_Carry = dict[str, np.ndarray]  # Of one caption.


class Caption(NamedTuple):
    """A finished or unfinished caption.

    Attributes:
      tokens: token ids, the last one END if it is finished.
      carry: the decoder's state after the last token but one.
      total: its log-probability.
      rank: see `beam_search.SearchResult`.
    """

    tokens: tuple[int, ...]
    carry: _Carry
    total: np.float32
    rank: np.float32

    @property
    def is_finished(self) -> bool:
        """Whether it ends with END."""
        return self.tokens[-1:] == (END,)


class CaptionGenerator:
    """Captions images one by one."""

    def __init__(self, decoder: DecoderLike, decode: ConfigDict) -> None:
        """`decode`: a config's part."""
        self._decode = decode
        self._start = tf.function(
            lambda features: decoder.start(features, 1, NO_DROPOUT), autograph=False
        )

        def step(tokens: tf.Tensor, memory: State, carry: State) -> tuple[tf.Tensor, State]:
            logits, carry = decoder.step(tokens, memory, carry)
            return tf.nn.log_softmax(logits), carry

        self._step = tf.function(step, reduce_retracing=True, autograph=False)

    def caption(self, features: tf.Tensor) -> list[Caption]:
        """Returns an image's captions in descending order of their ranks.

        Args:
          features: [1, positions, channels].
        """
        memory, carry = self._start(features)
        found = [Caption((), _of_row(carry, 0), np.float32(0), np.float32(0))]
        while unfinished := [caption for caption in found if not caption.is_finished]:
            finished = [caption for caption in found if caption.is_finished]
            extended = self._extend(unfinished, memory)
            found = _best(itertools.chain(finished, extended), self._decode.beam_size)
        return found

    def _extend(self, captions: Sequence[Caption], memory: State) -> Iterator[Caption]:
        """Yields each unfinished caption with each of its best next tokens."""
        last = [caption.tokens[-1] if caption.tokens else START for caption in captions]
        carry = {
            key: np.stack([caption.carry[key] for caption in captions])[np.newaxis]
            for key in captions[0].carry
        }
        scores, carry = self._step(np.array([last], np.int32), memory, carry)
        scores = scores.numpy()[0]
        for row, caption in enumerate(captions):
            own, state = scores[row], _of_row(carry, row)
            allowed = _mask_forbidden(own, caption.tokens, self._decode)
            for token in np.argsort(allowed)[::-1][: self._decode.beam_size]:
                if np.isfinite(allowed[token]):
                    yield self._append(caption, int(token), own[token], state)

    def _append(self, caption: Caption, token: int, score: np.float32, carry: _Carry) -> Caption:
        tokens, total = (*caption.tokens, token), caption.total + score
        length = np.float32(len(tokens))
        rank = total / np.power(length, np.float32(self._decode.length_penalty))
        return Caption(tokens, carry, total, rank)


def _of_row(carry: State, row: int) -> _Carry:
    return {key: np.asarray(values)[0, row] for key, values in carry.items()}


def _best(captions: Iterator[Caption], count: int) -> list[Caption]:
    """Returns the captions of highest rank in descending order; of equal ones the first."""
    heap: list[tuple[np.float32, int, Caption]] = []
    for number, caption in enumerate(captions):
        entry = (caption.rank, -number, caption)
        if len(heap) < count:
            heapq.heappush(heap, entry)
        else:
            heapq.heappushpop(heap, entry)
    return [caption for *_, caption in sorted(heap, reverse=True)]


def _mask_forbidden(scores: np.ndarray, words: tuple[int, ...], decode: ConfigDict) -> np.ndarray:
    """Returns log-probabilities [vocab_size] with -inf for the tokens that may not come next."""
    if len(words) == decode.max_length:
        masked = np.full_like(scores, -np.inf)
        masked[END] = scores[END]
        return masked
    masked = scores.copy()
    masked[[PAD, UNKNOWN, START, *words[-1:]]] = -np.inf
    if decode.no_repeat_ngram:
        masked[_repeats(words, decode.no_repeat_ngram)] = -np.inf
    return masked


def _repeats(words: tuple[int, ...], ngram: int) -> list[int]:
    """Returns the tokens that would complete an n-gram that is already there."""
    prefix = ngram - 1
    last = words[len(words) - prefix :]
    starts = range(len(words) - prefix)
    return [words[i + prefix] for i in starts if words[i : i + prefix] == last]
