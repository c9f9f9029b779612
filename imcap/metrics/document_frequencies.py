"""Document frequencies of n-grams of token ids, for CIDEr-D in graph (`token_cider`)."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from imcap.errors import UserError

ORDERS = 4  # n-grams have one to four tokens.
KEY_BITS = 64 // ORDERS  # Of a key for each token of an n-gram: keys of different n-grams differ.
MAX_IDS = 2**KEY_BITS


def ngram_keys(tokens: tf.Tensor) -> tf.Tensor:
    """Returns the n-grams that begin at each token.

    Args:
      tokens: int [..., length]; values that are not in 1..65,535 are padding.

    Returns:
      int64 [..., 4, length]: for n-grams of one, two, three and four tokens a number that is theirs
      alone, and 0 where there is none, as none has padding in it.
    """
    ids = tf.cast(tokens, tf.int64)
    ids = tf.where((ids > 0) & (ids < MAX_IDS), ids, 0)
    keys = [ids]
    for order in range(1, ORDERS):
        last = tf.concat([ids[..., order:], tf.zeros_like(ids[..., :order])], axis=-1)
        shifted = tf.bitwise.left_shift(last, tf.constant(KEY_BITS * order, tf.int64))
        is_whole = (keys[-1] != 0) & (last != 0)
        keys.append(tf.where(is_whole, tf.bitwise.bitwise_or(keys[-1], shifted), 0))
    return tf.stack(keys, axis=-2)


@dataclasses.dataclass(frozen=True, eq=False)
class DocumentFrequencies:
    """How many images' captions have an n-gram, as the weights that follow from it.

    Attributes:
      ngrams: int64 [entries], ascending keys (`ngram_keys`) of the n-grams of at least two images;
        those of one image weigh as much as unknown ones.
      weights: float32 [entries], log(images / images whose captions have the n-gram).
      num_images: all of them.
    """

    ngrams: np.ndarray
    weights: np.ndarray
    num_images: int

    @classmethod
    def count(
        cls, batches: Iterable[np.ndarray], vocab_size: int, *, buffer: int = 2_000_000
    ) -> DocumentFrequencies:
        """Counts n-grams; each image is a document.

        Args:
          batches: int [images, captions, length] each, 0 where a caption or the list of captions
            ends.
          vocab_size: number of token ids, padding included.
          buffer: n-grams that are collected before they are counted.

        Raises:
          UserError: there are more than 65,536 token ids.
        """
        check_vocabulary(vocab_size)
        keys, counts = np.zeros(0, np.int64), np.zeros(0, np.int64)
        pending, num_images = [keys], 0
        for batch in batches:
            num_images += len(batch)
            pending.append(_distinct_in_images(batch))
            # Merging takes time in proportion to all keys: as many new ones make it worth it.
            if sum(map(len, pending)) > max(buffer, len(keys)):
                keys, counts = _merge(keys, counts, pending)
                pending = [keys[:0]]
        keys, counts = _merge(keys, counts, pending)
        weights = np.log(max(num_images, 1)) - np.log(counts)
        is_kept = counts > 1
        return cls(keys[is_kept], weights[is_kept].astype(np.float32), num_images)

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns everything as arrays by name, as a file holds it."""
        return {name: np.asarray(value) for name, value in vars(self).items() if name in _FIELDS}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> DocumentFrequencies:
        """Returns what `arrays` was called on; raises KeyError if an array is missing."""
        return cls(arrays["ngrams"], arrays["weights"], int(arrays["num_images"]))

    def weigh(self, keys: tf.Tensor) -> tf.Tensor:
        """Returns the n-grams' inverse document frequencies: int64 [...] to float32 [...]."""
        unknown = math.log(max(self.num_images, 1))
        if not len(self.ngrams):
            return tf.fill(tf.shape(keys), unknown)
        ngrams, weights = self._constants
        flat = tf.reshape(keys, [-1])
        index = tf.minimum(tf.searchsorted(ngrams, flat), len(self.ngrams) - 1)
        is_known = tf.gather(ngrams, index) == flat
        found = tf.where(is_known, tf.gather(weights, index), unknown)
        return tf.reshape(found, tf.shape(keys))

    @functools.cached_property
    def _constants(self) -> tuple[tf.Tensor, tf.Tensor]:
        # Outside of any graph: each graph captures them, and a SavedModel holds them once.
        with tf.init_scope():
            return tf.constant(self.ngrams), tf.constant(self.weights)


_FIELDS = {field.name for field in dataclasses.fields(DocumentFrequencies)}


def check_vocabulary(vocab_size: int) -> None:
    """Raises UserError if n-grams of so many token ids, padding included, have no keys."""
    if vocab_size > MAX_IDS:
        raise UserError(
            f"the vocabulary has {vocab_size:,} token ids, and CIDEr-D of tokens takes at most "
            f"{MAX_IDS:,}: choose a smaller config.text.vocab_size"
        )


def _distinct_in_images(tokens: np.ndarray) -> np.ndarray:
    """Returns the keys of each image's n-grams once: int [images, ...] to int64 [keys]."""
    keys = ngram_keys(tf.constant(tokens)).numpy()
    keys = np.sort(keys.reshape(len(keys), math.prod(keys.shape[1:])), axis=1)
    is_first = np.ones(keys.shape, bool)
    is_first[:, 1:] = keys[:, 1:] != keys[:, :-1]
    return keys[is_first & (keys != 0)]


def _merge(
    keys: np.ndarray, counts: np.ndarray, pending: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns ascending keys and their counts, each key of `pending` counted once more."""
    found, times = np.unique(np.concatenate(pending), return_counts=True)
    merged, index = np.unique(np.concatenate([keys, found]), return_inverse=True)
    totals = np.zeros(len(merged), np.int64)
    np.add.at(totals, index, np.concatenate([counts, times]))
    return merged, totals
