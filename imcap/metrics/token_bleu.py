"""Smoothed sentence BLEU-4 (Papineni et al., 2002) of token ids, batched and in graph."""

from __future__ import annotations

import tensorflow as tf

from imcap.metrics import document_frequencies


def sentence_bleu4(hypotheses: tf.Tensor, references: tf.Tensor) -> tf.Tensor:
    """Returns the BLEU-4 of each hypothesis against all references of its image.

    One is added to the counts of 2- to 4-grams (Lin and Och, 2004), as in `bleu.score_bleu`'s
    figures of single images.

    Args:
      hypotheses: int [batch, h, length], 0 where a caption ends.
      references: int [batch, r, length], likewise; rows of 0 are no caption.

    Returns:
      float32 [batch, h], from 0 to 1.
    """
    matches, counts = _clipped_matches(hypotheses, references)
    added = tf.constant([0.0, 1.0, 1.0, 1.0])
    precisions = (matches + added) / (tf.maximum(counts, 1.0) + added)
    bleu = tf.exp(tf.reduce_mean(tf.math.log(precisions), axis=-1))
    return bleu * _brevity_penalty(_lengths(hypotheses), _lengths(references))


def _clipped_matches(hypotheses: tf.Tensor, references: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the n-grams that a reference has, too, and all n-grams, float32 [batch, h, 4]."""
    keys = document_frequencies.ngram_keys(hypotheses)
    reference_keys = document_frequencies.ngram_keys(references)
    # One order at a time: comparisons of tensors of more than five axes are not implemented.
    orders = zip(tf.unstack(keys, axis=2), tf.unstack(reference_keys, axis=2), strict=True)
    matches = [_sum_clipped(own, others) for own, others in orders]
    return tf.stack(matches, axis=-1), tf.math.count_nonzero(keys, axis=-1, dtype=tf.float32)


def _sum_clipped(keys: tf.Tensor, reference_keys: tf.Tensor) -> tf.Tensor:
    """Returns how many of a hypothesis' n-grams of one order are matched: int64 [batch, h, n] and
    [batch, r, m] to float32 [batch, h]."""
    own = _count_equal(keys, keys)
    found = _count_equal(keys[:, :, tf.newaxis], reference_keys[:, tf.newaxis])
    # Each of an n-gram's occurrences adds its share of the clipped count.
    shares = tf.minimum(own, tf.reduce_max(found, axis=2)) / own
    return tf.reduce_sum(tf.where(keys != 0, shares, 0.0), axis=-1)


def _count_equal(keys: tf.Tensor, others: tf.Tensor) -> tf.Tensor:
    """Counts each of the keys [..., n] among the others [..., m], float32 [..., n]."""
    equal = keys[..., tf.newaxis] == others[..., tf.newaxis, :]
    return tf.math.count_nonzero(equal, axis=-1, dtype=tf.float32)


def _lengths(tokens: tf.Tensor) -> tf.Tensor:
    return tf.math.count_nonzero(tokens, axis=-1, dtype=tf.float32)


def _brevity_penalty(lengths: tf.Tensor, reference_lengths: tf.Tensor) -> tf.Tensor:
    """Returns the penalty by the reference of the closest length, the shorter one of two that are
    equally close; float32 [batch, h] and [batch, r] to [batch, h]."""
    distances = tf.abs(lengths[:, :, tf.newaxis] - reference_lengths[:, tf.newaxis])
    # A shorter reference is preferred by less than the difference between two distances.
    preference = distances + 1e-4 * reference_lengths[:, tf.newaxis]
    preference = tf.where(reference_lengths[:, tf.newaxis] > 0, preference, tf.float32.max)
    closest = tf.gather(reference_lengths, tf.argmin(preference, axis=-1), batch_dims=1)
    return tf.where(lengths > closest, 1.0, tf.exp(1.0 - tf.math.divide_no_nan(closest, lengths)))
