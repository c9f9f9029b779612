"""Captions are standardized, encoded as ids and decoded."""

from __future__ import annotations

import re
import unicodedata

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from imcap import text
from imcap.errors import UserError

VOCABULARY = ["[START]", "[END]", "a", "dog", "runs", "élan", "3"]
MAX_LENGTH = 5

examples = settings(max_examples=150)


@pytest.fixture(scope="module")
def tokenizer() -> text.Tokenizer:
    return text.Tokenizer(VOCABULARY, MAX_LENGTH)


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("A dog runs .", "a dog runs"),
        ("", ""),
        (" \t\r\n ", ""),
        ("?!...", ""),
        ("two\tdogs\nrun", "two dogs run"),
        ("a t-shirt , snow_man and 3.5 x 2", "a t shirt snow man and 3 5 x 2"),
        ("\"quoted\" “words” «here» 'there'", "quoted words here there"),
        ("the dog's, the dogs' and dont", "the dogs the dogs and dont"),
        ("don't don’t don`t don´t donʼt don＇t", " ".join(["dont"] * 6)),
        ("ÀÉÎ ŁÓDŹ ΣΟΦΟΣ Straße", "àéî łódź σοφοσ strasse"),
        ("cafe\u0301 caf\u00e9", "caf\u00e9 caf\u00e9"),
        ("ﬁne Ｗｉｄｅ ① x²", "fine wide 1 x2"),
        ("no\u00a0break\u3000space", "no break space"),
        ("日本の犬 हिन्दी собака", "日本の犬 हिन्दी собака"),
        ("i ❤️ my 🐕‍🦺!", "i my"),
        ("a\u200bb\ufeff", "ab"),  # Invisible characters.
    ],
)
def test_standardizing(caption: str, expected: str) -> None:
    assert text.standardize_all([caption]) == [expected]


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        (b"a dog\xff\xfe runs", b"a dog runs"),
        (b"caf\xc3", b"caf"),
        (b"d\xffog", b"dog"),
        (b"\xed\xa0\x80x", b"x"),  # A surrogate.
        (b"a\0b", b"a b"),
    ],
)
def test_invalid_utf8_is_dropped(caption: bytes, expected: bytes) -> None:
    assert text.standardize(tf.constant(caption)).numpy() == expected


def test_a_lone_surrogate_in_a_python_string_is_dropped(tokenizer) -> None:
    assert text.standardize_all(["a \udcff dog"]) == ["a dog"]
    np.testing.assert_array_equal(tokenizer.encode(["a \udcff dog"]), [[2, 4, 5, 3]])


def test_standardizing_keeps_the_shape() -> None:
    standardized = text.standardize(tf.constant([["A", "B!"], ["", "c  D"]]))
    assert standardized.numpy().tolist() == [[b"a", b"b"], [b"", b"c d"]]
    assert text.standardize_all([]) == []


@examples
@given(st.binary(max_size=60) | st.text(max_size=40).map(lambda s: s.encode("utf-8", "ignore")))
def test_standardized_text_is_words_and_single_spaces(caption: bytes) -> None:
    standardized = text.standardize(tf.constant(caption)).numpy().decode("utf-8")
    assert not re.search(r"^ |  | $", standardized)
    assert {unicodedata.category(c)[0] for c in standardized.replace(" ", "")} <= set("LMN")


def test_words_are_counted_over_captions() -> None:
    counts = text.count_words(["A dog.", "The dog's dog", ""])
    assert counts == {"dog": 2, "a": 1, "the": 1, "dogs": 1}
    assert text.count_words([]) == {}


def test_the_vocabulary_is_sorted_by_count_and_word() -> None:
    counts = [("b", 2), ("rare", 1), ("z", 5), ("a", 2), ("é", 2)]
    expected = ["[START]", "[END]", "z", "a", "b", "é"]
    assert text.choose_vocabulary(counts, min_count=2, vocab_size=10) == expected
    assert text.choose_vocabulary(reversed(counts), min_count=2, vocab_size=10) == expected


def test_vocab_size_does_not_count_the_markers() -> None:
    counts = [("a", 3), ("b", 2), ("c", 1)]
    chosen = text.choose_vocabulary(counts, min_count=1, vocab_size=2)
    assert chosen == ["[START]", "[END]", "a", "b"]
    assert text.choose_vocabulary([], min_count=1, vocab_size=2) == ["[START]", "[END]"]


def test_keras_reads_vocab_txt_with_the_same_ids(tmp_path, tokenizer) -> None:
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    layer = tf.keras.layers.TextVectorization(standardize=None, vocabulary=str(path))
    ids = layer(tf.constant(VOCABULARY)).numpy()[:, 0]
    assert ids.tolist() == [line + 2 for line in range(len(VOCABULARY))]
    assert [str(word) for word in layer.get_vocabulary()] == tokenizer.words.tolist()
    assert len(layer.get_vocabulary()) == tokenizer.size


def test_ids_are_start_words_end(tokenizer) -> None:
    ids = tokenizer.encode_tf(tf.constant(["A dog runs!", "", "the dog"]))
    assert ids.dtype == tf.int32
    start, end, a, dog, runs, unknown = 2, 3, 4, 5, 6, 1
    assert (start, end, unknown, 0) == (text.START, text.END, text.UNKNOWN, text.PAD)
    expected = [[start, a, dog, runs, end], [start, end], [start, unknown, dog, end]]
    assert ids.to_list() == expected


def test_a_caption_is_cut_at_max_length_and_then_has_no_end(tokenizer) -> None:
    whole, longer = tokenizer.encode_tf(tf.constant(["a " * MAX_LENGTH, "a " * (MAX_LENGTH + 1)]))
    assert whole.numpy().tolist() == [2] + [4] * MAX_LENGTH + [3]
    assert longer.numpy().tolist() == [2] + [4] * MAX_LENGTH


def test_markers_in_a_caption_are_unknown_words(tokenizer) -> None:
    assert tokenizer.encode_tf(tf.constant(["[END] dog [START]"])).to_list() == [[2, 1, 5, 1, 3]]


def test_encode_equals_encode_tf(tokenizer) -> None:
    captions = ["a dog", "", "a dog runs a dog runs", "élan 3"]
    expected = tokenizer.encode_tf(tf.constant(captions)).to_list()
    found = tokenizer.encode(captions)
    assert [ids.tolist() for ids in found] == expected
    assert {ids.dtype for ids in found} == {np.dtype(np.int32)}


def test_decode_ends_at_the_first_end_or_padding(tokenizer) -> None:
    ids = np.array([[4, 5, 3, 6], [4, 0, 5, 6], [4, 5, 6, 7], [3, 4, 4, 4], [1, 5, 3, 0]])
    expected = ["a dog", "a", "a dog runs élan", "", "[UNK] dog"]
    assert tokenizer.decode(ids) == expected


@examples
@given(
    st.integers(0, 4).flatmap(
        lambda length: st.lists(
            st.lists(st.integers(0, len(VOCABULARY) + 1), min_size=length, max_size=length),
            min_size=1,
            max_size=5,
        )
    )
)
def test_decode_tf_equals_decode(tokenizer, rows: list[list[int]]) -> None:
    ids = np.array(rows, np.int32).reshape(len(rows), -1)
    in_graph = tokenizer.decode_tf(tf.constant(ids)).numpy()
    assert [caption.decode("utf-8") for caption in in_graph] == tokenizer.decode(ids)


def test_decode_tf_keeps_leading_axes(tokenizer) -> None:
    ids = tf.constant([[[4, 5, 3], [5, 3, 0]], [[3, 0, 0], [6, 6, 6]]])
    captions = tokenizer.decode_tf(ids).numpy()
    assert captions.tolist() == [[b"a dog", b"dog"], [b"", b"runs runs runs"]]


@examples
@given(st.lists(st.sampled_from([*VOCABULARY[2:], "Dog!", "unheard", "of"]), max_size=8))
def test_a_round_trip_gives_standardized_known_words(tokenizer, words: list[str]) -> None:
    [ids] = tokenizer.encode([" ".join(words)])
    standardized = text.standardize_all([" ".join(words)])[0].split()
    known = [word if word in VOCABULARY else "[UNK]" for word in standardized]
    assert tokenizer.decode([ids[1:]]) == [" ".join(known[:MAX_LENGTH])]
    assert (ids[-1] == text.END) == (len(words) <= MAX_LENGTH)


def test_a_vocabulary_is_parsed_by_line() -> None:
    content = "[START]\n[END]\ndog\nélan\n"
    assert text.parse_vocabulary(content, "vocab.txt") == ["[START]", "[END]", "dog", "élan"]
    assert text.parse_vocabulary(content.replace("\n", "\r\n"), "vocab.txt")[2] == "dog"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "must begin with the lines"),
        ("dog\ncat\n", "must begin with the lines"),
        ("[END]\n[START]\ndog\n", "must begin with the lines"),
        ("\n[UNK]\n[START]\n[END]\n", "must begin with the lines"),
        ("\x00\x01PK\x03\x04", "must begin with the lines"),
        ("[START]\n[END]\ndog\ncat\ndog\n", "'dog'"),
        ("[START]\n[END]\n\ndog\n", "empty or repeated line"),
    ],
)
def test_other_files_are_refused_as_a_vocabulary(content: str, reason: str) -> None:
    with pytest.raises(UserError) as caught:
        text.parse_vocabulary(content, "runs/a/vocab.txt")
    message = str(caught.value)
    assert message.startswith("runs/a/vocab.txt ")
    assert reason in message
    assert "\n" not in message


@examples
@given(st.text(max_size=60) | st.text(max_size=20).map("[START]\n[END]\n{}".format))
def test_any_text_is_parsed_or_refused(content: str) -> None:
    try:
        vocabulary = text.parse_vocabulary(content, "vocab.txt")
    except UserError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert text.Tokenizer(vocabulary, 3).size == len(vocabulary) + 2
