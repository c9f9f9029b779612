"""Captions to token ids and back: standardization, vocabulary, tokenizer."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Sequence

import numpy as np
import tensorflow as tf
import tensorflow_text as tf_text

from imcap.errors import UserError

# PAD and UNKNOWN are TextVectorization's; START and END are the first two lines of vocab.txt.
PAD, UNKNOWN, START, END = range(4)
_MARKERS = ("[START]", "[END]")
_RESERVED = ("", "[UNK]")  # Ids 0 and 1.


def standardize(captions: tf.Tensor) -> tf.Tensor:
    """Lowercases, drops apostrophes, and replaces all but letters and digits by single spaces.

    Args:
      captions: string [...], any UTF-8 (invalid bytes are dropped).

    Returns:
      string [...], words separated by single spaces, none at the ends.
    """
    # Before normalization, which turns a spacing accent into a space and a combining accent.
    text = drop_apostrophes(captions)
    return split_words(tf_text.case_fold_utf8(tf_text.normalize_utf8(text, "NFKC")))


def drop_apostrophes(captions: tf.Tensor) -> tf.Tensor:
    """Returns string [...] without apostrophes and invalid UTF-8: `standardize`'s first part."""
    text = tf.strings.unicode_transcode(captions, "UTF-8", "UTF-8", errors="ignore")
    return tf.strings.regex_replace(text, r"['’`´ʼ＇]", "")


def split_words(text: tf.Tensor) -> tf.Tensor:
    """Returns string [...] with single spaces in place of all but letters, marks and digits, and
    none at the ends: the last part of `standardize`."""
    return tf.strings.strip(tf.strings.regex_replace(text, r"[^\pL\pM\pN]+", " "))


def standardize_all(captions: Sequence[str]) -> list[str]:
    """Standardizes Python strings; see `standardize`."""
    if not captions:
        return []
    # A lone surrogate cannot be encoded; it is dropped like any invalid byte.
    raw = [caption.encode("utf-8", "ignore") for caption in captions]
    return [text.decode() for text in standardize(tf.constant(raw)).numpy()]


def count_words(captions: Sequence[str]) -> collections.Counter[str]:
    """Counts the standardized words of raw captions."""
    return collections.Counter(" ".join(standardize_all(captions)).split())


def choose_vocabulary(
    counts: Iterable[tuple[str, int]], min_count: int, vocab_size: int
) -> list[str]:
    """Returns the lines of vocab.txt: the markers, then words by descending count, then by word.

    Args:
      counts: (word, count) of all words.
      min_count: rarer words are left out.
      vocab_size: words at most, without the markers.
    """
    frequent = [(word, count) for word, count in counts if count >= min_count]
    frequent.sort(key=lambda item: (-item[1], item[0]))
    return [*_MARKERS, *(word for word, _ in frequent[:vocab_size])]


def parse_vocabulary(lines: str, path: str) -> list[str]:
    """Returns the lines of a vocab.txt; raises UserError if it is not one."""
    vocabulary = lines.splitlines()
    if tuple(vocabulary[:2]) != _MARKERS:
        raise UserError(f"{path} must begin with the lines {' and '.join(_MARKERS)}")
    duplicates = [word for word, n in collections.Counter(vocabulary).items() if n > 1]
    if duplicates or not all(vocabulary):
        raise UserError(f"{path} has an empty or repeated line: {duplicates[:1] or ['']}")
    return vocabulary


class Tokenizer(tf.Module):
    """Converts captions to token ids with Keras' TextVectorization, and ids to captions.

    Id 0 is padding, 1 an unknown word, and n + 2 the word in line n of vocab.txt (from 0).
    """

    def __init__(self, vocabulary: Sequence[str], max_length: int) -> None:
        """`vocabulary`: the lines of vocab.txt; `max_length`: words kept of a caption."""
        super().__init__()
        self.max_length = max_length
        self.words = np.array([*_RESERVED, *vocabulary])
        self._vectorize = tf.keras.layers.TextVectorization(
            standardize=standardize,
            split="whitespace",
            ragged=True,
            vocabulary=list(vocabulary),
        )
        self._encode = tf.function(
            self.encode_tf, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False
        )

    @property
    def size(self) -> int:
        """The number of ids, padding and unknown included."""
        return len(self.words)

    def encode_tf(self, captions: tf.Tensor) -> tf.RaggedTensor:
        """Raw captions, string [n], to START, word ids and END: int32 ragged [n, None].

        A caption with more than `max_length` words is cut and gets no END, so that the model does
        not learn to end there.
        """
        return add_markers(tf.cast(self._vectorize(captions), tf.int32), self.max_length)

    def encode(self, captions: Sequence[str]) -> list[np.ndarray]:
        """Like `encode_tf`, of Python strings: an int32 array [tokens] per caption."""
        raw = [caption.encode("utf-8", "ignore") for caption in captions]
        ids = self._encode(tf.constant(raw, tf.string))
        return np.split(ids.values.numpy(), ids.row_splits.numpy()[1:-1])

    def decode_tf(self, ids: tf.Tensor) -> tf.Tensor:
        """Like `decode`, within a graph: int [..., length] to string [...]."""
        is_word = tf.cumsum(tf.cast((ids == END) | (ids == PAD), tf.int32), axis=-1) == 0
        words = tf.where(is_word, tf.gather(tf.constant(self.words), ids), "")
        return tf.strings.strip(tf.strings.reduce_join(words, axis=-1, separator=" "))

    def decode(self, ids: np.ndarray) -> list[str]:
        """Ids, int [n, length], to captions: words up to the first END, without markers."""
        return [" ".join(self.words[row[: _length(row)]]) for row in np.asarray(ids)]


def add_markers(ids: tf.RaggedTensor, max_length: int) -> tf.RaggedTensor:
    """Adds START and END to word ids, int32 ragged [n, None]; see `Tokenizer.encode_tf`."""
    is_whole = ids.row_lengths() <= max_length
    start = tf.fill([ids.nrows(), 1], START)
    end = tf.RaggedTensor.from_row_lengths(
        tf.fill([tf.math.count_nonzero(is_whole)], END), tf.cast(is_whole, tf.int64)
    )
    return tf.concat([start, ids[:, :max_length], end], axis=1)


def _length(row: np.ndarray) -> int:
    ends = np.flatnonzero((row == END) | (row == PAD))
    return int(ends[0]) if ends.size else len(row)
