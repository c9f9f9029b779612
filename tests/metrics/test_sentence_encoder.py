"""Sentence embeddings equal an independent computation; folders that are no encoder are refused."""

from __future__ import annotations

import json
import os
import random
import socket
import sys

import numpy as np
import numpy_bert
import pytest
from refusals import refusal

from imcap.errors import UserError
from imcap.metrics.sentence_encoder import SentenceEncoder, identify

SENTENCES = [
    "a dog runs on the grass",
    "a cat",
    "The man is sitting under a wide, blue sky.",  # `is` has no pieces.
    "Café",
    "",
    "a dog sits on the grass " * 5,  # Longer than the encoder's input.
]
# Cosines that sentence-transformers 6.2.0 gives for all-MiniLM-L6-v2.
MINILM = [
    ("That is a happy person", "That is a happy dog", 0.69458),
    ("That is a happy person", "That is a very happy person", 0.94292),
    ("That is a happy person", "Today is a sunny day", 0.25688),
    ("a brown dog runs through the snow", "a dog is running in deep snow", 0.72907),
    ("a brown dog runs through the snow", "two children play football on a beach", -0.01488),
    (
        "a man in a red jacket climbs a rock",
        "a climber wearing red scales a steep cliff",
        0.64103,
    ),
    ("a man in a red jacket climbs a rock", "a man rides a bicycle", 0.29929),
    ("an old red bus", "a new blue car", 0.40199),
    ("Naïve Ångström façade!", "a naive angstrom facade", 0.90781),
    ("東京 street", "a street in tokyo", 0.73381),
    ("", "a dog", 0.12367),
    (
        "xylophonists unfathomably juxtapose pneumonoultramicroscopicsilicovolcanoconiosis",
        "musicians play",
        0.10319,
    ),
    (
        "a girl",
        "a young girl in a pink dress walks past a wooden cabin and holds an umbrella that the "
        "wind has turned inside out",
        0.46409,
    ),
]
_MANY_WORDS = "\n".join(f"w{number}" for number in range(30))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return numpy_bert.write_encoder(tmp_path_factory.mktemp("encoder") / "bert")


@pytest.fixture(scope="module")
def encoder(folder):
    return SentenceEncoder(str(folder))


def test_embeddings_equal_those_of_numpy(folder, encoder):
    found = encoder.embed(SENTENCES)
    expected = numpy_bert.embed(folder, SENTENCES)
    assert found.dtype == np.float32 and found.shape == (6, 12)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=1e-5)
    assert (found @ found.T)[0, 1] < 0.95  # The sentences differ.


def test_order_and_batches_change_no_embedding(folder, encoder):
    words, rng = ["a", "dog", "cat", "runs", "the"], random.Random(0)
    many = [" ".join(rng.choices(words, k=i % 9)) for i in range(300)]
    np.testing.assert_allclose(encoder.embed(many), numpy_bert.embed(folder, many), atol=1e-5)
    assert encoder.embed([]).shape == (0, 12)


if ENCODER := os.environ.get("IMCAP_SENTENCE_ENCODER"):

    def test_cosines_equal_those_of_sentence_transformers():
        encoder = SentenceEncoder(ENCODER)
        first, second = (encoder.embed([pair[i] for pair in MINILM]) for i in (0, 1))
        cosines = (first * second).sum(axis=1)
        np.testing.assert_allclose(cosines, [pair[2] for pair in MINILM], atol=2e-5)


@pytest.mark.parametrize(
    ("config", "pooling"),
    [
        ({"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}, "cls"),
        ({"pooling_mode": "max"}, "max"),
    ],
)
def test_pooling_is_read(tmp_path, config, pooling):
    folder = numpy_bert.write_encoder(tmp_path / "bert")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(config))
    expected = numpy_bert.embed(folder, SENTENCES[:2], pooling)
    np.testing.assert_allclose(
        SentenceEncoder(str(folder)).embed(SENTENCES[:2]), expected, atol=1e-5
    )


def test_nothing_is_fetched(folder, monkeypatch):
    def connect(*_):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", connect)
    SentenceEncoder(str(folder)).embed(["a dog"])


def test_missing_package_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    line = refusal(SentenceEncoder, str(folder))
    assert "keras_hub" in line and "pip install 'imcap[similarity]'" in line


def test_missing_folder_and_files_are_named(tmp_path):
    assert "no such folder" in refusal(SentenceEncoder, str(tmp_path / "none"))
    for name in ("config.json", "model.safetensors", "vocab.txt"):
        folder = numpy_bert.write_encoder(tmp_path / name)
        (folder / name).unlink()
        assert f"has no {name}" in refusal(SentenceEncoder, str(folder))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model_type": "mpnet"}, "model_type is 'mpnet'"),
        ({"hidden_act": "relu"}, "hidden_act is 'relu'"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type"),
        ({"vocab_size": 31}, "word_embeddings"),
        ({"hidden_size": 24}, "word_embeddings"),
        ({"num_hidden_layers": 3}, "encoder.layer.2.intermediate.dense.weight is missing"),
        ({"num_attention_heads": 5}, "cannot be read as a BERT encoder"),
        ({"hidden_size": "x"}, "cannot be read as a BERT encoder"),
        ({"type_vocab_size": None, "intermediate_size": 10**12}, "intermediate"),
    ],
)
def test_other_architecture_is_refused(tmp_path, change, named):
    folder = numpy_bert.write_encoder(tmp_path / "bert", **change)
    assert named in refusal(SentenceEncoder, str(folder))


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("modules.json", '[{"type": "sentence_transformers.models.Dense"}]', "a Dense"),
        ("modules.json", '[{"type": "sentence', "corrupted: it must be a JSON array"),
        ("modules.json", "3", "corrupted: it must be a JSON array"),
        ("1_Pooling/config.json", '{"pooling_mode_lasttoken": true}', "pooling_mode_lasttoken"),
        ("1_Pooling/config.json", '{"pooling_mode": ["mean", "max"]}', "pooling"),
        ("config.json", "{", "config.json is corrupted"),
        ("config.json", "[]", "config.json is corrupted"),
        ("tokenizer_config.json", "3", "tokenizer_config.json is corrupted"),
        ("sentence_bert_config.json", '{"max_seq_length": "x"}', "'x'"),
        ("vocab.txt", "a\nb\n", "[UNK]"),
        ("vocab.txt", "[UNK]\n[CLS]\n[SEP]\n[PAD]\n[MASK]\n" + _MANY_WORDS, "more lines"),
    ],
)
def test_corrupted_file_is_refused(tmp_path, name, content, named):
    folder = numpy_bert.write_encoder(tmp_path / "bert")
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(content)
    message = refusal(SentenceEncoder, str(folder))
    assert named in message
    assert "UserError" not in message


def test_truncated_or_random_weights_are_refused(tmp_path):
    folder = numpy_bert.write_encoder(tmp_path / "bert")
    path = folder / "model.safetensors"
    whole, rng = path.read_bytes(), random.Random(0)
    broken = [whole[: rng.randrange(len(whole))] for _ in range(8)]
    broken += [b"", rng.randbytes(100), b"<html>" * 50, whole[:8] + rng.randbytes(200)]
    for content in broken:
        path.write_bytes(content)
        line = refusal(SentenceEncoder, str(folder))
        assert line.startswith(f"{folder} cannot be read as a BERT encoder")


def test_random_bytes_in_a_file_are_refused_or_read(tmp_path):
    folder, rng = numpy_bert.write_encoder(tmp_path / "bert"), random.Random(0)
    for name in ("config.json", "vocab.txt"):
        whole = (folder / name).read_bytes()
        for _ in range(6):
            start = rng.randrange(len(whole))
            (folder / name).write_bytes(whole[:start] + rng.randbytes(4) + whole[start + 4 :])
            try:
                SentenceEncoder(str(folder))
            except UserError as error:
                assert "\n" not in str(error)
        (folder / name).write_bytes(whole)


def test_identity_names_the_folder_and_tells_weights_apart(tmp_path):
    one, same = (numpy_bert.write_encoder(tmp_path / n / "bert") for n in ("one", "same"))
    assert identify(str(one)) == identify(f"{same}/") and identify(str(one)).startswith("bert, ")
    content = bytearray((one / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (one / "model.safetensors").write_bytes(content)
    assert identify(str(one)) != identify(str(same))
