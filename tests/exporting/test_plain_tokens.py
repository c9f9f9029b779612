"""Token ids with TensorFlow's own ops: those of the tokenizer that made the records."""

from __future__ import annotations

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from imcap import text
from imcap.exporting import plain_tokens
from imcap.exporting.plain_tokens import PlainTokenizer

_WORDS = [
    "a",
    "dog",
    "é",
    "straße",
    "strasse",
    "fi",
    "한국",
    "ệ",
    "が",
    "ⅸ",
    "ix",
    "10",
    "́",
    "e",
    "ά",
]
_VOCABULARY = ["[START]", "[END]", *_WORDS]
# What is decomposed, composed, deleted, split or reordered.
_PIECES = st.one_of(
    st.sampled_from(_WORDS),
    st.sampled_from(
        ["é", "E", "É", "ﬁ", "ß", "ẞ", "Ⅸ", "한국", "ﾊﾞ", "か\u3099", "\u00ad", "\u200d", "＇", "’"]
    ),
    st.sampled_from(
        ["≠", "=", "<", "\u0338", "\u0323", "\u0301", "\u0345", "İ", "ı", "¨", "´", "½", "㎏", "ﷺ"]
    ),
    st.characters(categories=["M"], max_codepoint=0x7FF),
    st.characters(max_codepoint=0xFFFF),
)


@pytest.fixture(scope="module")
def tokenizer() -> text.Tokenizer:
    return text.Tokenizer(_VOCABULARY, max_length=8)


@pytest.fixture(scope="module")
def plain(tokenizer):
    spec = [tf.TensorSpec([None], tf.string)]
    return tf.function(PlainTokenizer(tokenizer).encode_tf, input_signature=spec, autograph=False)


@settings(max_examples=15)
@given(st.lists(st.lists(_PIECES, max_size=12).map("".join), min_size=20, max_size=20))
def test_ids_are_the_tokenizer_s(tokenizer, plain, captions):
    raw = tf.constant([caption.encode("utf-8", "ignore") for caption in captions])
    assert plain(raw).to_list() == tokenizer.encode_tf(raw).to_list()


def test_ids_of_every_character_that_changes_are_the_tokenizer_s(tokenizer, plain):
    tables = plain_tokens.decompositions()
    codes = {*tables.changed.tolist(), *tables.values.tolist(), *tables.marks.tolist()}
    # Between letters: it may join, part or change them.
    captions = [f"e{chr(code)}dog" for code in sorted(codes)]
    raw = tf.constant(captions)
    expected, found = tokenizer.encode_tf(raw).to_list(), plain(raw).to_list()
    assert [
        c for c, one, other in zip(captions, expected, found, strict=True) if one != other
    ] == []


def test_marks_are_sorted_as_the_tokenizer_s(tokenizer, plain):
    marks = [chr(code) for code in plain_tokens.decompositions().marks]
    # Others are spaces for the regular expression that splits words.
    known = tf.boolean_mask(marks, text.split_words(marks) != "").numpy()[::7]
    raw = tf.constant([b"e" + one + other for one in known for other in known[::9]])
    assert plain(raw).to_list() == tokenizer.encode_tf(raw).to_list()


@pytest.mark.parametrize("raw", [b"", b"\xff\xfe dog", b"\0", b"dog " * 30])
def test_ids_of_odd_bytes_are_the_tokenizer_s(tokenizer, plain, raw):
    captions = tf.constant([raw, b"a dog"])
    assert plain(captions).to_list() == tokenizer.encode_tf(captions).to_list()
