"""Greedy and beam search: against a plain loop, an exhaustive search, and its masks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf
from ml_collections import ConfigDict
from scripted_decoders import Countdown, make_loop

from imcap import config as config_lib
from imcap import decoders
from imcap.decoders import DECODERS
from imcap.decoders.base import NO_DROPOUT, Decoder
from imcap.decoding import beam_search
from imcap.text import END, PAD, START, UNKNOWN

CHANNELS, POSITIONS = 4, 3
FORBIDDEN = (PAD, UNKNOWN, START)
MASKED = -1e8  # A score below it contains a masked token.


def settings(**values: object) -> ConfigDict:
    base = {"beam_size": 1, "length_penalty": 0.7, "max_length": 8, "no_repeat_ngram": 3}
    return ConfigDict(base | values)


def make_decoder(
    vocabulary: int,
    seed: int = 0,
    kind: str = "attention",
    bias: dict[int, float] | None = None,
    **model: int,
) -> Decoder:
    """A decoder with random weights; `bias` adds to some tokens' logits, `model` are
    settings of the config's part."""
    config = config_lib.model_defaults()
    config.update(decoder=kind, units=8, embedding_size=6, **model)
    decoder = decoders.build(config, vocabulary, CHANNELS)
    rng = np.random.default_rng(seed)
    for weight in decoder.weights:
        weight.assign(rng.normal(0, 0.8, weight.shape))
    output_bias = decoder.output_bias.numpy()
    for token, value in (bias or {}).items():
        output_bias[token] += value
    decoder.output_bias.assign(output_bias)
    return decoder


def make_features(batch: int, seed: int = 0) -> tf.Tensor:
    rng = np.random.default_rng(seed)
    return tf.constant(rng.normal(0, 1.5, (batch, POSITIONS, CHANNELS)), tf.float32)


def caption_of(row: np.ndarray) -> list[int]:
    """Tokens up to END, which is included and followed by padding only."""
    length = np.flatnonzero(row == END)[0] + 1
    assert (row[length:] == PAD).all()
    return row[:length].tolist()


def greedy(decoder: Decoder, features: tf.Tensor, config: ConfigDict) -> tuple[list[int], float]:
    """The expected result of a beam of 1, as a plain loop over one image's words."""
    memory, carry = decoder.start(features, 1, NO_DROPOUT)
    words, total, n = [], 0.0, config.no_repeat_ngram
    while words[-1:] != [END]:
        previous = words[-1] if words else START
        logits, carry = decoder.step(tf.constant([[previous]]), memory, carry)
        scores = tf.nn.log_softmax(logits)[0, 0].numpy()
        allowed = scores.copy()
        allowed[[*FORBIDDEN, previous]] = -np.inf
        for i in range(len(words) - n + 1) if n else ():
            if words[i : i + n - 1] == words[len(words) - n + 1 :]:
                allowed[words[i + n - 1]] = -np.inf
        if len(words) == config.max_length:
            allowed[np.arange(len(allowed)) != END] = -np.inf
        words.append(int(np.argmax(allowed)))
        total += scores[words[-1]]
    return words, total / len(words)


@pytest.mark.parametrize(
    ("kind", "ngram", "layers"),
    [*(("attention", ngram, 1) for ngram in range(5)), *((kind, 2, 2) for kind in DECODERS)],
)
def test_beam_of_one_is_greedy(kind, ngram, layers):
    decoder = make_decoder(9, seed=1, kind=kind, bias={END: -2.0}, layers=layers)
    features, config = make_features(5), settings(no_repeat_ngram=ngram, max_length=12)
    found = beam_search.search(decoder, features, config)
    for image in range(5):
        words, score = greedy(decoder, features[image : image + 1], config)
        assert caption_of(found.tokens[image, 0].numpy()) == words
        assert found.scores[image, 0].numpy() == pytest.approx(score, abs=1e-5)


def all_captions(vocabulary: int, max_length: int) -> list[tuple[int, ...]]:
    """Every caption of at most `max_length` words without a word twice in a row."""
    words = range(END + 1, vocabulary)
    captions = []
    for length in range(max_length + 1):
        captions += [(*c, END) for c in itertools.product(words, repeat=length)]
    return [c for c in captions if all(a != b for a, b in itertools.pairwise(c))]


def log_probabilities(decoder: Decoder, features: tf.Tensor, captions) -> np.ndarray:
    """Each caption's total for one image, from the logits of teacher forcing."""
    length = max(map(len, captions))
    tokens = np.array([[START, *c, *[PAD] * (length - len(c))] for c in captions], np.int32)
    vectors = decoder.output_vectors(features, tf.constant(tokens[np.newaxis, :, :-1]), NO_DROPOUT)
    logits = decoder.logits(vectors).numpy()[0].astype(np.float64)
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return np.array([sum(logs[i, t, w] for t, w in enumerate(c)) for i, c in enumerate(captions)])


@pytest.mark.parametrize("length_penalty", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_wide_beam_equals_exhaustive_search(seed, length_penalty):
    vocabulary, max_length = END + 4, 4
    decoder, features = make_decoder(vocabulary, seed), make_features(1, seed)
    captions = all_captions(vocabulary, max_length)
    totals = log_probabilities(decoder, features, captions)
    lengths = np.array([len(c) for c in captions])
    order = np.argsort(-totals / lengths**length_penalty)
    config = settings(
        beam_size=len(captions), max_length=max_length, no_repeat_ngram=0,
        length_penalty=length_penalty,
    )  # fmt: skip
    found = beam_search.search(decoder, features, config)
    assert [tuple(caption_of(row)) for row in found.tokens[0].numpy()] == [
        captions[i] for i in order
    ]
    np.testing.assert_allclose(found.scores[0], (totals / lengths)[order], atol=1e-5)
    ranks = (totals / lengths**length_penalty)[order]
    np.testing.assert_allclose(found.ranks[0], ranks, atol=1e-5)


def test_length_penalty_favours_longer_captions():
    decoder = make_decoder(12, seed=4, bias={END: 1.0})

    def words(length_penalty: float) -> int:
        config = settings(beam_size=6, length_penalty=length_penalty)
        tokens = beam_search.search(decoder, make_features(8), config).tokens[:, 0]
        return int(tf.math.count_nonzero(tokens))

    assert words(0.0) < words(1.0) < words(2.0)


def test_images_whose_captions_have_ended_are_not_searched_on():
    lengths, decoder = [4, 1, 6, 1, 3], Countdown()
    features = tf.constant(lengths, tf.float32)[:, tf.newaxis, tf.newaxis]
    found = beam_search.search(decoder, features, settings(no_repeat_ngram=0))
    assert [len(caption_of(row)) - 1 for row in found.tokens[:, 0].numpy()] == lengths
    assert decoder.batches == [5, 5, 3, 3, 2, 1, 1]


@pytest.mark.parametrize("beam_size", [1, 4])
def test_images_of_a_batch_are_independent(beam_size):
    decoder, features = make_decoder(15, seed=3), make_features(6)
    config = settings(beam_size=beam_size)
    together = beam_search.search(decoder, features, config)
    assert len({caption.tobytes() for caption in together.tokens[:, 0].numpy()}) > 1
    for image in range(6):
        alone = beam_search.search(decoder, features[image : image + 1], config)
        np.testing.assert_array_equal(alone.tokens[0], together.tokens[image])
        np.testing.assert_allclose(alone.scores[0], together.scores[image], atol=1e-5)


@pytest.mark.parametrize("positions", [None, POSITIONS])
@pytest.mark.parametrize("heads", [1, 2])
def test_graph_equals_eager_for_any_batch_size(heads, positions):
    decoder, config = make_decoder(15, seed=3, heads=heads), settings(beam_size=3)
    spec = tf.TensorSpec([None, positions, CHANNELS])
    graph = tf.function(
        lambda x: beam_search.search(decoder, x, config), input_signature=[spec], autograph=False
    )
    for batch in (1, 4):
        features = make_features(batch)
        eager, found = beam_search.search(decoder, features, config), graph(features)
        np.testing.assert_array_equal(found.tokens, eager.tokens)
        np.testing.assert_allclose(found.scores, eager.scores, atol=1e-5)


@pytest.mark.parametrize("beam_size", [1, 5])
@pytest.mark.parametrize("seed", range(3))
def test_no_special_tokens_and_no_immediate_repeats(seed, beam_size):
    decoder = make_decoder(11, seed, bias=dict.fromkeys(FORBIDDEN, 9.0))
    found = beam_search.search(
        decoder, make_features(8), settings(beam_size=beam_size, max_length=15)
    )
    for row in found.tokens.numpy().reshape(-1, 16):
        caption = caption_of(row)
        assert not set(caption) & set(FORBIDDEN)
        assert all(a != b for a, b in itertools.pairwise(caption))
    assert np.isfinite(found.scores).all()
    assert found.scores.numpy().min() > MASKED


@pytest.mark.parametrize("beam_size", [1, 4])
@pytest.mark.parametrize("ngram", [2, 3, 4])
def test_no_ngram_is_repeated(ngram, beam_size):
    config = settings(max_length=20, no_repeat_ngram=ngram, beam_size=beam_size)
    tokens = beam_search.search(make_loop(), make_features(1), config).tokens.numpy()
    for row in tokens[0]:
        caption = caption_of(row)
        ngrams = [tuple(caption[i : i + ngram]) for i in range(len(caption) - ngram + 1)]
        assert len(ngrams) == len(set(ngrams))


def test_ngrams_repeat_without_the_mask():
    tokens = beam_search.search(make_loop(), make_features(1), settings(no_repeat_ngram=0)).tokens
    assert tokens[0, 0].numpy().tolist() == [4, 5, 6, 4, 5, 6, 4, 5, END]


@pytest.mark.parametrize("beam_size", [1, 3])
@pytest.mark.parametrize("end_bias", [-50.0, 1.5, 4.0])
def test_scores_equal_log_probability_per_token(beam_size, end_bias):
    decoder, features = make_decoder(12, seed=5, bias={END: end_bias}), make_features(6)
    found = beam_search.search(decoder, features, settings(beam_size=beam_size))
    tokens = tf.pad(found.tokens, [[0, 0], [0, 0], [1, 0]], constant_values=START)
    total, count = beam_search.log_probability(decoder, features, tokens)
    np.testing.assert_allclose(found.scores, total / count, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.ranks, total / count**0.7, rtol=1e-5, atol=1e-5)
    lengths = [len(caption_of(row)) for row in found.tokens.numpy().reshape(-1, 9)]
    assert count.numpy().ravel().tolist() == lengths
    is_capped = [length == 9 for length in lengths]
    assert (any(is_capped), all(is_capped)) == (end_bias < 2, end_bias == -50)


def test_log_probability_ignores_start_padding_and_missing_captions():
    decoder, features = make_decoder(9), make_features(1)
    captions = [(5, 6, END), (END,), (7, 4, 7, 4, 8)]
    tokens = np.zeros((1, 4, 9), np.int32)
    for row, caption in zip(tokens[0], captions, strict=False):
        row[: len(caption) + 1] = [START, *caption]
    total, count = beam_search.log_probability(decoder, features, tf.constant(tokens))
    assert count.numpy().tolist() == [[3, 1, 5, 0]]
    expected = [*log_probabilities(decoder, features, captions), 0]
    np.testing.assert_allclose(total[0], expected, atol=1e-5)


def test_search_stops_when_all_captions_have_ended():
    loop = make_loop(vocabulary=END + 2)  # One word, which may not follow itself.
    found = beam_search.search(loop, make_features(3), settings(max_length=50))
    assert [caption_of(row) for row in found.tokens[:, 0].numpy()] == [[4, END]] * 3
    assert loop.steps == 2


def test_only_end_follows_max_length_words():
    decoder, features = make_decoder(9, bias={END: -50.0}), make_features(2)
    found = beam_search.search(decoder, features, settings(beam_size=2, max_length=5))
    assert found.tokens.shape == (2, 2, 6)
    assert (found.tokens.numpy()[..., 5] == END).all()
    assert not np.isin(found.tokens[..., :5], [PAD, END]).any()
    assert found.scores.numpy().min() > MASKED


@pytest.mark.parametrize("length_penalty", [0.0, 0.7, 1.0])
def test_captions_of_an_image_differ_and_are_ordered_by_rank(length_penalty):
    decoder, features = make_decoder(14, seed=6), make_features(5)
    config = settings(beam_size=7, length_penalty=length_penalty)
    found = beam_search.search(decoder, features, config)
    is_score_order = True
    for rows, scores, ranks in zip(*(part.numpy() for part in found), strict=True):
        captions = [tuple(caption_of(row)) for row in rows]
        assert len(set(captions)) == 7
        lengths = np.array([len(caption) for caption in captions])
        np.testing.assert_allclose(ranks, scores * lengths ** (1 - length_penalty), rtol=1e-5)
        assert (np.diff(ranks) <= 0).all()
        is_score_order &= bool((np.diff(scores) <= 0).all())
    assert is_score_order == (length_penalty == 1.0)


@pytest.mark.parametrize("width", [1, 4])
def test_a_width_that_the_caller_of_the_graph_chooses_gives_the_config_s_captions(width):
    decoder, features = make_decoder(9), make_features(2)
    expected = beam_search.search(decoder, features, settings(beam_size=width))
    signature = [tf.TensorSpec([None, POSITIONS, CHANNELS]), tf.TensorSpec([], tf.int32)]
    graph = tf.function(
        lambda *inputs: beam_search.search(decoder, inputs[0], settings(beam_size=2), inputs[1]),
        signature,
        autograph=False,
    )
    found = graph(features, tf.constant(width))
    np.testing.assert_array_equal(found.tokens, expected.tokens)
    np.testing.assert_allclose(found.ranks, expected.ranks, atol=1e-6)
