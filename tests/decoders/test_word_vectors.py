"""Word vectors from files: equal to gensim's, and malformed files refused in one line."""

from __future__ import annotations

import gzip
import shutil
import sys
import tracemalloc
from pathlib import Path

import keras
import numpy as np
import pytest
from gensim.models.fasttext import FastText, save_facebook_model
from hypothesis import given
from hypothesis import strategies as st
from refusals import refusal

from imcap import config as config_lib
from imcap import decoders
from imcap.decoders import DECODERS, word_vectors
from imcap.errors import UserError

SIZE = 6
CORPUS = [
    "a brown dog runs through the grass",
    "two dogs running over white snow",
    "a café beside the beach",
]
SEEN = ("dog", "running", "café", "snow")
UNSEEN = ("runner", "beaches")  # They have subwords in common with words of the corpus.
IDS = {word: number for number, word in enumerate((*UNSEEN, *SEEN), start=4)}


@pytest.fixture(scope="module")
def model() -> FastText:
    """A fastText model whose words of one letter have no subwords."""
    sentences = [caption.split() for caption in CORPUS] * 5
    return FastText(
        sentences, vector_size=SIZE, min_count=1, min_n=4, bucket=40, epochs=2, seed=0, workers=1
    )


@pytest.fixture(scope="module")
def files(model, tmp_path_factory) -> dict[str, Path]:
    """The model's vectors in every format, by name."""
    folder = tmp_path_factory.mktemp("vectors")
    model.wv.save_word2vec_format(str(folder / "words.vec"))
    header, _, rows = (folder / "words.vec").read_text(encoding="utf-8").partition("\n")
    assert header == f"{len(model.wv)} {SIZE}"
    (folder / "glove.txt").write_text(rows, encoding="utf-8")
    save_facebook_model(model, str(folder / "words.bin"))
    for path in list(folder.iterdir()):
        with open(path, "rb") as source, gzip.open(f"{path}.gz", "wb") as target:
            shutil.copyfileobj(source, target)
    return {path.name: path for path in folder.iterdir()}


def write(folder: Path, content: str | bytes, name: str = "words.vec") -> str:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def read_rows(folder: Path, content: str, size: int = 2) -> dict[str, list[float]]:
    """Returns the vectors that a file of this content has of `dog` and `cat`."""
    ids = {"dog": 4, "cat": 5}
    found = word_vectors.read(write(folder, content), ids, size)
    words = {number: word for word, number in ids.items()}
    return {words[i]: v.tolist() for i, v in zip(found.ids, found.vectors, strict=True)}


# --- what is read ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["words.vec", "words.vec.gz", "glove.txt", "glove.txt.gz"])
def test_text_vectors_equal_gensims(model, files, name):
    found = word_vectors.read(str(files[name]), IDS, SIZE)
    assert found.ids.tolist() == [IDS[word] for word in SEEN]
    np.testing.assert_array_equal(found.vectors, [model.wv[word] for word in SEEN])
    assert not found.is_composed.any()


@pytest.mark.parametrize("name", ["words.bin", "words.bin.gz"])
def test_a_fasttext_model_composes_unseen_words_as_gensim_does(model, files, name):
    found = word_vectors.read(str(files[name]), IDS, SIZE)
    assert found.ids.tolist() == list(IDS.values())
    np.testing.assert_array_equal(found.vectors, [model.wv[word] for word in IDS])
    assert found.is_composed.tolist() == [word in UNSEEN for word in IDS]
    assert np.abs(found.vectors).min(axis=1).all()


def test_a_fasttext_model_is_known_whatever_its_name(files, tmp_path):
    path = write(tmp_path, files["words.bin"].read_bytes(), "vectors.dat")
    assert len(word_vectors.read(path, IDS, SIZE).ids) == len(IDS)


def test_an_unseen_word_without_subwords_has_no_vector(files):
    found = word_vectors.read(str(files["words.bin"]), {"q": 4, "dog": 5}, SIZE)
    assert found.ids.tolist() == [5]


def test_of_a_repeated_word_the_first_vector_counts(tmp_path):
    assert read_rows(tmp_path, "dog 1 2\ndog 3 4\n") == {"dog": [1, 2]}


def test_words_with_spaces_and_spaces_at_the_end_are_no_error(tmp_path):
    rows = "cat 3 4 \r\n. . . 5 6\nat name@domain.com 7 8\ndog 1 -2e-1\n\n"
    expected = {"cat": [3, 4], "dog": [1, pytest.approx(-0.2)]}
    assert read_rows(tmp_path, rows) == expected
    assert read_rows(tmp_path, f"4 2\n{rows}") == expected


def test_only_the_vocabularys_rows_are_kept_in_memory(tmp_path):
    path = tmp_path / "large.vec"
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(f"word{number} {'0.5 ' * 100}\n" for number in range(4_000))
    tracemalloc.start()
    found = word_vectors.read(str(path), {"word7": 4, "word3999": 5}, 100)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.ids.tolist() == [4, 5]
    assert peak < 300_000 < path.stat().st_size


def test_rows_of_covered_words_are_replaced():
    found = word_vectors.WordVectors(
        np.array([1, 3], np.int32), np.array([[1, 2], [3, 4]], np.float32), np.zeros(2, bool)
    )
    embedding = keras.Variable(np.full([5, 2], 9.0))
    expected = [[9, 9], [1, 2], [9, 9], [3, 4], [9, 9]]
    np.testing.assert_array_equal(found.replace_rows(embedding), expected)


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("", "is empty"),
        ("2 2\ndog 1 2\ncat 3\n", "row 3: a word and 1 numbers instead of 2"),
        ("dog 1 2\ncat 3 4 5\n", "row 2: a word and 3 numbers instead of 2"),
        ("dog 1 2\ncat\n", "row 2: a word and 0 numbers instead of 2"),
        ("dog 1 2\ncat 1 x\n", "row 2: could not convert string to float"),
        ("dog 1 2\ncat 1 nan\n", "row 2: a number is not finite"),
        ("dog 1 2\ncat 1e999 1\n", "row 2: a number is not finite"),
        ("9 2\ndog 1 2\ncat 3 4\n", "is cut off: it declares 9 words and has 2"),
        ("9 2\n", "is cut off: it declares 9 words and has 0"),
        ("3 3\ndog 1 2 3\n", "vectors of 3 numbers, but config.model.embedding_size=2"),
        ("dog 1 2 3\n", "vectors of 3 numbers, but config.model.embedding_size=2"),
        ("# my vectors\ndog 1 2\n", "row 1: neither"),
        ("\n\n", "row 1: neither"),
        ("bird 1 2\n", "has none of the vocabulary's 2 words"),
    ],
)
def test_malformed_text_is_refused_with_file_and_row(tmp_path, content, line):
    refused = refusal(read_rows, tmp_path, content)
    assert refused.startswith(str(tmp_path / "words.vec")) and line in refused


def test_a_model_of_another_dimension_is_refused_before_it_is_loaded(files, monkeypatch):
    monkeypatch.setitem(sys.modules, "gensim.models.fasttext", None)
    line = refusal(word_vectors.read, str(files["words.bin"]), IDS, 5)
    assert "has vectors of 6 numbers, but config.model.embedding_size=5" in line
    assert "--config.model.embedding_size=6" in line


def test_without_gensim_the_extra_is_named(files, monkeypatch):
    monkeypatch.setitem(sys.modules, "gensim.models.fasttext", None)
    line = refusal(word_vectors.read, str(files["words.bin"]), IDS, SIZE)
    assert "pip install 'imcap[vectors]'" in line
    assert len(word_vectors.read(str(files["words.vec"]), IDS, SIZE).ids) == len(SEEN)


def test_missing_files_and_folders_are_refused(tmp_path):
    missing = str(tmp_path / "absent.vec")
    line = refusal(word_vectors.read, missing, IDS, SIZE)
    assert line == f"{missing} cannot be read: No such file or directory"
    line = refusal(word_vectors.read, str(tmp_path), IDS, SIZE)
    assert line == f"{tmp_path} cannot be read: Is a directory"


@pytest.mark.parametrize("name", ["words.vec.gz", "words.bin.gz"])
def test_a_compressed_file_that_is_cut_off_or_not_compressed_is_refused(files, tmp_path, name):
    content = files[name].read_bytes()
    for part in (content[: len(content) // 2], gzip.decompress(content), b"\x1f\x8b garbage"):
        line = refusal(word_vectors.read, write(tmp_path, part, name), IDS, SIZE)
        assert line.startswith(f"{tmp_path / name} cannot be read: ")


@pytest.mark.parametrize("content", [b"3 6\ndog 1 2", b"garbage", b"\0" * 500])
def test_a_bin_that_is_no_fasttext_model_is_refused(tmp_path, content):
    line = refusal(word_vectors.read, write(tmp_path, content, "words.bin"), IDS, SIZE)
    assert "words.bin is no fastText model" in line


@given(content=st.binary() | st.text(" 0123456789.-e\ndogcat").map(str.encode))
def test_any_text_is_read_or_refused(tmp_path_factory, content):
    path = write(tmp_path_factory.getbasetemp(), content)
    try:
        found = word_vectors.read(path, {"dog": 4, "cat": 5}, 2)
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert found.vectors.shape == (len(found.ids), 2)
        assert np.isfinite(found.vectors).all()


@given(data=st.data())
def test_any_corrupted_model_is_read_or_refused(files, tmp_path_factory, data):
    content = bytearray(files["words.bin"].read_bytes())
    places = st.integers(4, len(content) - 1) | st.integers(4, 120)
    for place in data.draw(st.lists(places, max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    end = data.draw(st.none() | st.integers(0, len(content)))
    path = write(tmp_path_factory.getbasetemp(), bytes(content[:end]), "corrupted.bin")
    try:
        found = word_vectors.read(path, IDS, SIZE)
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert found.vectors.shape == (len(found.ids), SIZE)
        assert np.isfinite(found.vectors).all()


# --- in a decoder ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(DECODERS))
def test_a_frozen_embedding_is_a_weight_but_not_trained(kind):
    config = config_lib.model_defaults()
    config.update(decoder=kind, units=8, embedding_size=6)
    trained = decoders.build(config, 13, 5)
    config.train_word_vectors = False
    frozen = decoders.build(config, 13, 5)
    paths = lambda weights: {weight.name for weight in weights}  # noqa: E731
    assert paths(frozen.weights) == paths(trained.weights) == paths(trained.trainable_variables)
    assert paths(trained.weights) - paths(frozen.trainable_variables) == {"embedding"}
