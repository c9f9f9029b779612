"""Several decoders as one: the mean of their probabilities decides each word, in graph.

The mean is that of the probabilities, not of the logits: a word that one decoder finds likely stays
likely, however improbable it is for another. (Ensembles of captioners: Vinyals et al., 2017, arXiv
1609.06647.)
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import tensorflow as tf

from imcap.decoders.base import DecoderLike, Dropout, State
from imcap.decoding import attention


class Ensemble(tf.Module):
    """Decoders of one vocabulary, of any kinds and sizes, that read the same features.

    The state of member 2 has the keys `2.KEY`. Where members have attention, the ensemble's is the
    mean of theirs.
    """

    def __init__(self, members: Sequence[DecoderLike]) -> None:
        """`members`: at least one."""
        super().__init__()
        self._members = list(members)

    def encode(self, features: tf.Tensor) -> tf.Tensor:
        """See `Decoder`: as the first member does."""
        return self._members[0].encode(features)

    def encoding_digest(self) -> str:
        """See `Decoder`: the first member's, which encodes what images are compared by."""
        return self._members[0].encoding_digest()

    def describe_encoding(self) -> str:
        """See `Decoder`: of each member that does anything."""
        return "; ".join(filter(None, (member.describe_encoding() for member in self._members)))

    def grid(self, records_grid: tuple[int, int]) -> tuple[int, int]:
        """See `Decoder`: the same for all members, which read the same records."""
        return self._members[0].grid(records_grid)

    def start(self, features: tf.Tensor, width: int, dropout: Dropout) -> tuple[State, State]:
        """See `Decoder`."""
        states = [member.start(features, width, dropout) for member in self._members]
        memories, carries = zip(*states, strict=True)
        return _merge(memories), _merge_carries(carries)

    def step(self, tokens: tf.Tensor, memory: State, carry: State) -> tuple[tf.Tensor, State]:
        """See `Decoder`: the logits are the logarithms of the mean probabilities."""
        results = [
            member.step(tokens, _part(memory, number), _part(carry, number))
            for number, member in enumerate(self._members)
        ]
        logits, carries = zip(*results, strict=True)
        return average_logits(logits), _merge_carries(carries)

    def output_vectors(self, features: tf.Tensor, tokens: tf.Tensor, dropout: Dropout) -> tf.Tensor:
        """Returns the logits themselves, [batch, width, length, vocab_size]; see `Decoder`."""
        return average_logits([
            member.logits(member.output_vectors(features, tokens, dropout))
            for member in self._members
        ])  # fmt: skip

    def logits(self, vectors: tf.Tensor) -> tf.Tensor:
        """Returns what `output_vectors` gave, or any part of it."""
        return vectors


def average_logits(logits: Sequence[tf.Tensor]) -> tf.Tensor:
    """Returns the logarithms of the mean of the softmaxes of several logits.

    Args:
      logits: float32 [..., vocab_size] each.

    Returns:
      float32 [..., vocab_size]: log-probabilities, which are logits as well.
    """
    # Pair by pair, as all of them in one tensor would take twice the memory.
    total = functools.reduce(
        tf.experimental.numpy.logaddexp, [tf.nn.log_softmax(one) for one in logits]
    )
    return total - math.log(len(logits))


def _merge(states: Sequence[State]) -> State:
    return {
        f"{number}.{key}": value
        for number, state in enumerate(states)
        for key, value in state.items()
    }


def _merge_carries(carries: Sequence[State]) -> State:
    merged = _merge(carries)
    maps = [carry[attention.KEY] for carry in carries if attention.KEY in carry]
    if maps:
        merged[attention.KEY] = tf.add_n(maps) / len(maps)
    return merged


def _part(state: State, number: int) -> State:
    """Returns the state of one member: the inverse of `_merge`."""
    prefix = f"{number}."
    return {
        key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)
    }
