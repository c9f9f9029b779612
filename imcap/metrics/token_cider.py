"""CIDEr-D (Vedantam et al., 2015) of token ids, batched and in graph, for rewards and reranking.

It is what pycocoevalcap's CiderScorer computes for words, with given document frequencies: n-grams
of one to four tokens, clipped counts, a Gaussian length penalty (sigma 6), times 10. Whether END is
a word is the caller's choice: it is a token like any other where it is not 0. START should be cut.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from imcap.metrics.document_frequencies import KEY_BITS, ORDERS, DocumentFrequencies, ngram_keys

_SIGMA = 6.0  # Tokens.
_LAST_KEY = np.iinfo(np.int64).max


def caption_norms(tokens: tf.Tensor, frequencies: DocumentFrequencies) -> tf.Tensor:
    """Returns the lengths of captions' tf-idf vectors: int [..., length] to float32 [..., 4]."""
    keys = ngram_keys(tokens)
    counts = tf.reduce_sum(
        tf.cast(keys[..., tf.newaxis] == keys[..., tf.newaxis, :], tf.float32), -1
    )
    # Each of an n-gram's occurrences adds its share, so that all add up to the squared count.
    squares = tf.where(keys != 0, counts * tf.square(frequencies.weigh(keys)), 0.0)
    return tf.sqrt(tf.reduce_sum(squares, axis=-1))


def cider_d(
    hypotheses: tf.Tensor,
    references: tf.Tensor,
    frequencies: DocumentFrequencies,
    reference_norms: tf.Tensor | None = None,
) -> tf.Tensor:
    """Returns the CIDEr-D of each hypothesis with each reference of the same image.

    The usual figure of a hypothesis is the mean over its image's references.

    Args:
      hypotheses: int [batch, h, length], 0 where a caption ends; one of padding alone scores 0.
      references: int [batch, r, length], where the length may differ from the hypotheses'.
      frequencies: of the n-grams.
      reference_norms: `caption_norms` of the references, where they are known already.

    Returns:
      float32 [batch, h, r], from 0 to 10.
    """
    if reference_norms is None:
        reference_norms = caption_norms(references, frequencies)
    keys, reference_keys = ngram_keys(hypotheses), ngram_keys(references)
    # An n-gram that no hypothesis has adds nothing but to a reference's norm.
    ngrams = _distinct(_flatten(keys))
    weights = frequencies.weigh(ngrams)[:, tf.newaxis] * _orders(ngrams)
    norms = caption_norms(hypotheses, frequencies)
    products = _sum_clipped_products(
        _count(keys, ngrams),
        _count(reference_keys, ngrams),
        tf.matmul(tf.math.reciprocal_no_nan(norms), weights),
        tf.matmul(tf.math.reciprocal_no_nan(reference_norms), weights),
    )
    distances = _lengths(keys)[:, :, tf.newaxis] - _lengths(reference_keys)[:, tf.newaxis]
    penalty = tf.exp(-tf.square(distances) / (2 * _SIGMA**2))
    return 10 / ORDERS * products * penalty


def _flatten(keys: tf.Tensor) -> tf.Tensor:
    """[batch, ...] to [batch, n], where the batch may be empty."""
    shape = tf.shape(keys)
    return tf.reshape(keys, [shape[0], tf.reduce_prod(shape[1:])])


def _distinct(keys: tf.Tensor) -> tf.Tensor:
    """Returns each row's distinct keys other than 0, ascending, then the highest possible key.

    int64 [batch, keys] to int64 [batch, at least 1].
    """
    keys = tf.sort(keys, axis=1)
    before = tf.concat([tf.zeros_like(keys[:, :1]), keys[:, :-1]], axis=1)
    is_new = (keys != before) & (keys != 0)
    column = tf.cumsum(tf.cast(is_new, tf.int64), axis=1) - 1
    where = tf.where(is_new)
    index = tf.stack([where[:, 0], tf.gather_nd(column, where)], axis=1)
    size = tf.maximum(tf.reduce_max(column) + 1, 1)
    rows = tf.fill(tf.stack([tf.shape(keys, tf.int64)[0], size]), tf.constant(_LAST_KEY, tf.int64))
    return tf.tensor_scatter_nd_update(rows, index, tf.gather_nd(keys, where))


def _orders(keys: tf.Tensor) -> tf.Tensor:
    """Returns 1 where a key is of an n-gram of an order.

    int64 [batch, n] to float32 [batch, 4, n].
    """
    shifts = [tf.constant(KEY_BITS * order, tf.int64) for order in range(1, ORDERS)]
    rests = [tf.bitwise.right_shift(keys, shift) for shift in shifts]
    order = tf.add_n([tf.cast(rest != 0, tf.int32) for rest in rests])
    return tf.one_hot(order, ORDERS, axis=1)


def _count(keys: tf.Tensor, ngrams: tf.Tensor) -> tf.Tensor:
    """Counts n-grams in captions.

    Args:
      keys: int64 [batch, captions, 4, length].
      ngrams: int64 [batch, n], ascending.

    Returns:
      float32 [batch, captions, n].
    """
    batch, captions, size = tf.shape(keys)[0], tf.shape(keys)[1], tf.shape(ngrams)[1]
    flat = _flatten(keys)
    column = tf.minimum(tf.searchsorted(ngrams, flat), size - 1)
    is_found = (tf.gather(ngrams, column, batch_dims=1) == flat) & (flat != 0)
    caption = tf.repeat(tf.range(batch * captions), tf.reduce_prod(tf.shape(keys)[2:]))
    cell = tf.reshape(caption, tf.shape(flat)) * size + column
    cell = tf.where(is_found, cell, -1)  # Those below 0 are not summed.
    ones = tf.ones_like(cell, tf.float32)
    counts = tf.math.unsorted_segment_sum(ones, cell, batch * captions * size)
    return tf.reshape(counts, [batch, captions, size])


def _sum_clipped_products(
    counts: tf.Tensor, reference_counts: tf.Tensor, weights: tf.Tensor, reference_weights: tf.Tensor
) -> tf.Tensor:
    """Returns the sums of min(a, b) * b over n-grams, each weighted on both sides.

    float32 [batch, h, n], [batch, r, n], [batch, h, n] and [batch, r, n] to [batch, h, r].
    """
    weighted = reference_counts * reference_weights

    # min(a, b) is the number of k from 1 on that neither a nor b is below: a product for each k.
    def product(k: tf.Tensor) -> tf.Tensor:
        left = tf.where(counts >= k, weights, 0.0)
        right = tf.where(reference_counts >= k, weighted, 0.0)
        return tf.matmul(left, right, transpose_b=True)

    limit = tf.minimum(tf.reduce_max(counts), tf.reduce_max(reference_counts))
    _, total = tf.while_loop(
        lambda k, _: k <= limit,
        lambda k, total: (k + 1.0, total + product(k)),
        (tf.constant(2.0), product(tf.constant(1.0))),
    )
    return total


def _lengths(keys: tf.Tensor) -> tf.Tensor:
    """Returns the number of bigrams, which pycocoevalcap takes for a caption's length.

    int64 [batch, captions, 4, length] to float32 [batch, captions].
    """
    return tf.math.count_nonzero(keys[..., 1, :], axis=-1, dtype=tf.float32)
