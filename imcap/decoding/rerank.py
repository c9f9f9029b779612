"""The order of a beam's captions by what they have in common with other captions, in graph.

Beam search puts the most probable caption first. The one that agrees best with the others of the
beam (minimum Bayes risk: Eikema and Aziz, 2020; Jinnai et al., 2024), or with the captions of
similar training images (consensus: Devlin et al., 2015, arXiv 1505.04467 and 1505.01809), is
usually nearer to what people write. Agreement is CIDEr-D with the document frequencies of the
training captions. Evaluation and the exported model call the same functions.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf
from ml_collections import ConfigDict

from imcap import records
from imcap.decoders.base import DecoderLike
from imcap.decoding import neighbor_files
from imcap.decoding.beam_search import SearchResult
from imcap.decoding.neighbors import NeighborIndex
from imcap.metrics.document_frequencies import DocumentFrequencies
from imcap.metrics.token_cider import caption_norms, cider_d
from imcap.text import END, PAD

# (captions found, `Decoder.encode` of features [batch, positions, channels]) to the captions in
# their new order, whose `ranks` are what decides it.
Reranker = Callable[[SearchResult, tf.Tensor], SearchResult]

NONE = "none"  # Of `config.decode.rerank`.
_IMPOSSIBLE = -1e6  # The score of a sequence that holds a masked token is below it.
_IMAGES = 1000  # Whose captions' norms are computed at a time.


def keep_order(found: SearchResult, features: tf.Tensor) -> SearchResult:
    """Returns what the search found, in the order of its ranks."""
    del features
    return found


def build(
    decode: ConfigDict,
    workdir: str,
    info: records.Info,
    folder: Callable[[], str],
    decoder: DecoderLike | None = None,
    *,
    skip_corrupted: bool = False,
) -> Reranker:
    """Returns what `decode.rerank` names; see `neighbor_files.read_or_build`.

    Args:
      decode: a config's `decode` part.
      workdir: the run's folder, which keeps the index of training images.
      info: the records' info.json.
      folder: returns the local folder of the records with their shards, if they have to be read.
      decoder: images are compared by what it encodes; None: by their features.
      skip_corrupted: leave out what a corrupted shard has lost.
    """
    if decode.rerank == NONE:
        return keep_order
    index = neighbor_files.read_or_build(
        workdir, info, decode, folder, decoder, skip_corrupted=skip_corrupted
    )
    if decode.rerank == "mbr":
        return MinimumBayesRisk(index.frequencies, decode)
    return Consensus(index, decode)


def names(reranking: str) -> list[str]:
    """Returns the value of `config.decode.rerank` where captions are reranked, else nothing."""
    return [] if reranking == NONE else [reranking]


class MinimumBayesRisk:
    """Puts captions first that are like the other captions of their beam."""

    def __init__(self, frequencies: DocumentFrequencies, decode: ConfigDict) -> None:
        """`decode`: a config's part; `rerank_score_weight` is read."""
        self._frequencies, self._decode = frequencies, decode

    def __call__(self, found: SearchResult, features: tf.Tensor) -> SearchResult:
        """Reorders the captions of a batch; see `Reranker`."""
        del features
        agreement = agreement_in_beam(_words(found.tokens), found.ranks, self._frequencies)
        return _order(found, agreement + self._decode.rerank_score_weight * found.scores)


class Consensus:
    """Puts captions first that are like those of the training images nearest to their image."""

    def __init__(self, index: NeighborIndex, decode: ConfigDict) -> None:
        """`decode`: a config's part; its settings `rerank_…` are read."""
        self._index, self._decode = index, decode
        captions = index.captions
        starts = range(0, len(captions), _IMAGES)
        parts = [caption_norms(captions[i : i + _IMAGES], index.frequencies) for i in starts]
        # Outside of any graph: each graph captures them, and a SavedModel holds them once.
        self._captions, self._norms = tf.constant(captions), tf.concat(parts, axis=0)

    def __call__(self, found: SearchResult, features: tf.Tensor) -> SearchResult:
        """Reorders the captions of a batch; see `Reranker`."""
        decode, words = self._decode, _words(found.tokens)
        value = self._agreement_with_neighbors(words, features)
        value += decode.rerank_score_weight * found.scores
        if decode.rerank_mbr_weight:
            agreement = agreement_in_beam(words, found.ranks, self._index.frequencies)
            value += decode.rerank_mbr_weight * agreement
        return _order(found, value)

    def _agreement_with_neighbors(self, words: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
        """Returns the mean CIDEr-D with the neighbours' captions, weighted by similarity.

        int32 [batch, beam, length] and [batch, positions, channels] to float32 [batch, beam].
        """
        cosines, images = self._index.nearest(features, self._decode.rerank_neighbors)
        per_image = self._captions.shape[1]
        captions = _merge_axes(tf.cast(tf.gather(self._captions, images), tf.int32))
        norms = _merge_axes(tf.gather(self._norms, images))
        weights = tf.exp(self._decode.rerank_sharpness * (cosines - cosines[:, :1]))
        weights = tf.repeat(weights, per_image, axis=1)
        weights = tf.where(captions[..., 0] != PAD, weights, 0.0)
        return _weighted_mean(
            cider_d(words, captions, self._index.frequencies, norms), weights[:, tf.newaxis]
        )


def agreement_in_beam(
    words: tf.Tensor, ranks: tf.Tensor, frequencies: DocumentFrequencies
) -> tf.Tensor:
    """Returns each caption's expected CIDEr-D with the others of its beam.

    Args:
      words: int32 [batch, beam, length], without END.
      ranks: float32 [batch, beam], of the search: a caption's probability is their softmax.
      frequencies: of the training captions' n-grams.

    Returns:
      float32 [batch, beam]; 0 for a beam of one.
    """
    others = 1 - tf.eye(tf.shape(words)[1])
    weights = tf.nn.softmax(ranks)[:, tf.newaxis] * others
    return _weighted_mean(cider_d(words, words, frequencies), weights)


def _words(tokens: tf.Tensor) -> tf.Tensor:
    # END counts as a word in no score.
    return tf.where(tokens == END, PAD, tokens)


def _merge_axes(x: tf.Tensor) -> tf.Tensor:
    """[batch, images, captions, n] to [batch, images * captions, n]."""
    batch, images, captions, size = tf.unstack(tf.shape(x))
    return tf.reshape(x, [batch, images * captions, size])


def _weighted_mean(values: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Returns the mean over the last axis; 0 where all weights are."""
    total = tf.reduce_sum(values * weights, axis=-1)
    return tf.math.divide_no_nan(total, tf.reduce_sum(weights, axis=-1))


def _order(found: SearchResult, value: tf.Tensor) -> SearchResult:
    """Returns the captions in descending order of a value, which are their ranks.

    Of equal values the one that the search ranked higher comes first.
    """
    # A beam that is wider than there are captions is filled with sequences whose totals are -1e9 or
    # less. Their ranks may be near 0 where `length_penalty` is large; their scores are not.
    value = tf.where(found.scores < _IMPOSSIBLE, found.scores, value)
    value, order = tf.math.top_k(value, value.shape[1] or tf.shape(value)[1])
    tokens, scores = (tf.gather(x, order, batch_dims=1) for x in found[:2])
    return SearchResult(tokens, scores, value)
