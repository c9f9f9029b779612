"""Captions to token ids with TensorFlow's own ops, so that a SavedModel loads without others.

`text.standardize` normalizes Unicode with ops of tensorflow-text, which plain TensorFlow does not
know. Here text is compared in its canonical decomposition (NFD) instead of NFC: two strings are
equal in one form where they are equal in the other (Unicode Standard Annex #15), and decomposing
takes a table and a sort only. The table is made with tensorflow-text itself, so that both know the
same version of Unicode.

The ids are the same for all characters but about twenty combining marks of rare scripts that came
with Unicode 14 or later. TensorFlow's regular expressions do not know them yet and take them for
spaces, and among other marks such a space may lie elsewhere.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_text as tf_text

from imcap import text

# All code points that normalization can change: the planes between have no characters, those after
# are private.
_CODE_POINTS = np.r_[0:0xD800, 0xE000:0x40000, 0xE0000:0xF0000].astype(np.int32)


class PlainTokenizer(tf.Module):
    """Gives the token ids that `text.Tokenizer.encode_tf` gives."""

    def __init__(self, tokenizer: text.Tokenizer) -> None:
        """`tokenizer`: whose ids and `max_length` are taken."""
        super().__init__()
        self._max_length = tokenizer.max_length
        words = [str(word) for word in tokenizer.words]
        # No caption is ever standardized to another word.
        standard = [
            word == same for word, same in zip(words, text.standardize_all(words), strict=True)
        ]
        ids = np.flatnonzero(np.array(standard) & (tokenizer.words != ""))
        keys = _normalize(tf.constant(tokenizer.words[ids].tolist(), tf.string), "NFD")
        self._ids = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                keys, tf.constant(ids, tf.int32), tf.string, tf.int32
            ),
            text.UNKNOWN,
        )
        # Outside of any graph: each graph captures them, and a SavedModel holds them once.
        tables = decompositions()
        self._changed, self._splits, self._values = map(tf.constant, tables[:3])
        self._marks, self._classes = tf.constant(tables.marks), tf.constant(tables.classes)
        self._no_words = tables.no_words

    def encode_tf(self, captions: tf.Tensor) -> tf.RaggedTensor:
        """See `text.Tokenizer.encode_tf`."""
        words = tf.strings.split(self._standardize(captions))
        return text.add_markers(self._ids.lookup(words), self._max_length)

    def _standardize(self, captions: tf.Tensor) -> tf.Tensor:
        """Returns what `text.standardize` does, decomposed: string [n] to string [n]."""
        codes = tf.strings.unicode_decode(text.drop_apostrophes(captions), "UTF-8")
        decomposed = self._order(self._decompose(codes))
        raw = tf.strings.unicode_encode(decomposed, "UTF-8")
        return text.split_words(tf.strings.regex_replace(raw, self._no_words, " "))

    def _decompose(self, codes: tf.RaggedTensor) -> tf.RaggedTensor:
        """Replaces each code point by those of its case-folded decomposition."""
        flat = codes.flat_values
        row = tf.minimum(tf.searchsorted(self._changed, flat), tf.size(self._changed) - 1)
        is_changed = tf.gather(self._changed, row) == flat
        # What is not in the table stays: it is taken from the caption, which follows the values.
        own = tf.size(self._values) + tf.range(tf.size(flat))
        start = tf.where(is_changed, tf.gather(self._splits, row), own)
        stop = tf.where(is_changed, tf.gather(self._splits, row + 1), own + 1)
        sources = tf.ragged.range(start, stop)
        values = tf.gather(tf.concat([self._values, flat], axis=0), sources.flat_values)
        splits = tf.gather(sources.row_splits, codes.row_splits)
        return tf.RaggedTensor.from_row_splits(values, splits)

    def _order(self, codes: tf.RaggedTensor) -> tf.RaggedTensor:
        """Sorts the marks that follow a letter by their combining class."""
        flat = codes.flat_values
        row = tf.minimum(tf.searchsorted(self._marks, flat), tf.size(self._marks) - 1)
        is_mark = tf.gather(self._marks, row) == flat
        combining = tf.where(is_mark, tf.gather(self._classes, row), 0)
        letter = tf.cumsum(tf.cast(combining == 0, tf.int64)) + codes.value_rowids()
        order = tf.argsort(letter * 256 + tf.cast(combining, tf.int64), stable=True)
        return codes.with_flat_values(tf.gather(flat, order))


class Decompositions(NamedTuple):
    """Tables of Unicode.

    Attributes:
      changed: int32 [n], the code points that are not their own case-folded decomposition; sorted.
      splits: int32 [n + 1]: the decomposition of `changed[i]` is `values[splits[i]:splits[i + 1]]`.
      values: int32 [m], code points.
      marks: int32 [k], the code points with a combining class above 0; sorted.
      classes: int32 [k], numbers in the order of their combining classes, from 1.
      no_words: a regular expression of decompositions that are part of a word while the characters
        that they compose are not: `=` with a stroke.
    """

    changed: np.ndarray
    splits: np.ndarray
    values: np.ndarray
    marks: np.ndarray
    classes: np.ndarray
    no_words: str


@functools.cache
def decompositions() -> Decompositions:
    """Returns the tables; takes a fifth of a second."""
    characters = [chr(code) for code in _CODE_POINTS]
    raw = tf.constant(characters)
    folded = _decode(_normalize(tf_text.case_fold_utf8(raw), "NFD"))
    changed = np.flatnonzero([one != other for one, other in zip(characters, folded, strict=True)])
    parts = [[ord(character) for character in folded[i]] for i in changed]
    marks = _find_marks(characters)
    return Decompositions(
        changed=_CODE_POINTS[changed],
        splits=np.cumsum([0, *map(len, parts)], dtype=np.int32),
        values=np.array([code for part in parts for code in part], np.int32),
        marks=np.array([ord(mark) for mark in marks], np.int32),
        classes=_find_classes(marks),
        no_words=_find_no_words(raw),
    )


def _find_marks(characters: Sequence[str]) -> list[str]:
    """Returns the characters with a combining class above 0.

    Python's unicodedata may be of another version of Unicode than tensorflow-text, so marks are
    recognized by what they do: those of different classes change places.
    """
    lowest, highest = "\N{COMBINING TILDE OVERLAY}", "\N{COMBINING GREEK YPOGEGRAMMENI}"
    is_below = _change_places([highest + character for character in characters])
    is_above = _change_places([character + lowest for character in characters])
    return [one for one, is_mark in zip(characters, is_below | is_above, strict=True) if is_mark]


def _find_classes(marks: Sequence[str]) -> np.ndarray:
    """Returns for each mark the number of classes below its own, and 1."""
    classes = {unicodedata.combining(mark): mark for mark in marks}
    classes.pop(0, None)  # Of marks that Python does not know.
    is_above = [_change_places([mark + other for mark in marks]) for other in classes.values()]
    return 1 + np.stack(is_above).sum(axis=0, dtype=np.int32)


def _change_places(pairs: Sequence[str]) -> np.ndarray:
    """Tells which strings of two characters are decomposed to the same two in the other order."""
    found = _decode(_normalize(tf.constant(pairs), "NFD"))
    return np.array(
        [pair != one and pair[::-1] == one for pair, one in zip(pairs, found, strict=True)]
    )


def _find_no_words(characters: tf.Tensor) -> str:
    composed, decomposed = (_normalize(characters, form) for form in ("NFC", "NFD"))
    characters, decomposed = (
        tf.boolean_mask(one, (composed == characters) & (decomposed != characters))
        for one in (characters, decomposed)
    )
    is_word, has_word = (text.split_words(one) != "" for one in (characters, decomposed))
    found = _decode(tf.boolean_mask(decomposed, has_word & ~is_word))
    return "|".join(re.escape(one) for one in found)


def _normalize(strings: tf.Tensor, form: str) -> tf.Tensor:
    return tf_text.normalize_utf8(strings, form)


def _decode(strings: tf.Tensor) -> list[str]:
    return [one.decode() for one in strings.numpy()]
