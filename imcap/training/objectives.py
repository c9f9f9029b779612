"""What a training minimizes: a loss for each token of a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from imcap import text
from imcap.decoders.base import Decoder, Dropout


class Losses(NamedTuple):
    """The losses of a batch's tokens, without padding.

    Attributes:
      losses: float32 [tokens]; training minimizes their mean over all replicas.
      cross_entropies: float32 [tokens], in nats; progress bar and history show their mean.
    """

    losses: tf.Tensor
    cross_entropies: tf.Tensor


# (features [batch, positions, channels], tokens int32 [batch, captions, length], dropout): with
# START first, and 0 where a caption or the list of captions ends.
Objective = Callable[[tf.Tensor, tf.Tensor, Dropout], Losses]


def cross_entropy(decoder: Decoder, label_smoothing: float = 0.0) -> Objective:
    """Returns the cross-entropy of the next word, given the image and the previous words.

    Args:
      decoder: any.
      label_smoothing: probability that is spread evenly over the vocabulary instead of being the
        target word's (Szegedy et al., 2016).
    """

    def objective(features: tf.Tensor, tokens: tf.Tensor, dropout: Dropout) -> Losses:
        vectors = decoder.output_vectors(features, tokens[..., :-1], dropout)
        targets = tokens[..., 1:]
        # Padding is removed before the output layer, which takes most of a step's time.
        is_token = targets != text.PAD
        logits = decoder.logits(tf.boolean_mask(vectors, is_token))
        targets = tf.boolean_mask(targets, is_token)
        entropies = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
        if not label_smoothing:
            return Losses(entropies, entropies)
        uniform = tf.reduce_logsumexp(logits, -1) - tf.reduce_mean(logits, -1)
        return Losses((1 - label_smoothing) * entropies + label_smoothing * uniform, entropies)

    return objective
