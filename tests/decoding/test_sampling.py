"""Sampled captions follow the decoder's distribution, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from small_decoders import BATCH, CHANNELS, VOCABULARY, make_decoder, make_features, teacher_forced

from imcap.decoders import DECODERS
from imcap.decoding import sampling
from imcap.text import END, PAD, START, UNKNOWN

MAX_LENGTH = 5


def draw(
    decoder,
    features: tf.Tensor,
    samples: int,
    seed: int = 0,
    max_length: int = MAX_LENGTH,
    temperature: float = 1.0,
) -> np.ndarray:
    """Tokens, int32 [batch, samples, max_length + 1]."""
    keys = tf.range(features.shape[0])
    uniforms = sampling.uniform_rows(tf.constant([seed, 1]), keys, [samples, max_length])
    return sampling.sample(decoder, features, uniforms, temperature).numpy()


@pytest.mark.parametrize(
    ("kind", "temperature"), [*((kind, 1.0) for kind in DECODERS), ("attention", 0.5)]
)
def test_frequencies_of_tokens_are_the_softmax_over_words_and_end(kind, temperature):
    decoder, features, samples = make_decoder(kind), make_features(), 20_000
    tokens = draw(decoder, features, samples, max_length=2, temperature=temperature)

    def probabilities(previous: list[int]) -> np.ndarray:
        given = np.broadcast_to(np.array([[previous]], np.int32), (BATCH, 1, len(previous)))
        logits = teacher_forced(decoder, features, given)[:, 0, -1].astype(np.float64)
        odds = np.exp(logits / temperature)
        odds[:, [PAD, UNKNOWN, START]] = 0
        return odds / odds.sum(-1, keepdims=True)

    for image in range(BATCH):
        first = tokens[image, :, 0]
        word = np.bincount(first[first > END]).argmax()
        second = tokens[image, first == word, 1]
        for found, expected in (
            (first, probabilities([START])[image]),
            (second, probabilities([START, word])[image]),
        ):
            frequencies = np.bincount(found, minlength=VOCABULARY) / len(found)
            error = np.sqrt(expected * (1 - expected) / len(found))
            assert (np.abs(frequencies - expected) <= 5 * error).all()


@pytest.mark.parametrize("kind", list(DECODERS))
def test_a_caption_is_words_then_end_then_padding(kind):
    decoder = make_decoder(kind)
    decoder.output_bias.assign([20.0, 20.0, 20.0, *[0.0] * (VOCABULARY - 3)])
    tokens = draw(decoder, make_features(), 500)
    assert tokens.shape == (BATCH, 500, MAX_LENGTH + 1)
    assert not np.isin(tokens, [START, UNKNOWN]).any()
    assert ((tokens == END).sum(-1) == 1).all()
    is_after = np.cumsum(tokens == END, axis=-1) - (tokens == END) > 0
    assert ((tokens == PAD) == is_after).all()
    lengths = (tokens > END).sum(-1)
    assert lengths.min() < 2 and lengths.max() == MAX_LENGTH


def test_a_number_of_zero_draws_no_token_of_probability_zero():
    decoder = make_decoder("inject")
    tokens = sampling.sample(decoder, make_features(), tf.zeros([BATCH, 1, MAX_LENGTH]))
    assert (tokens.numpy()[..., 0] == END).all()  # The first token that may be drawn.


def test_the_seed_decides_the_captions_of_an_image_whatever_batch_it_is_in():
    decoder = make_decoder("attention")
    features = tf.constant(np.random.default_rng(1).normal(size=(6, 4, CHANNELS)), tf.float32)
    keys = tf.constant([11, 5, 99, 0, 2**31 - 2, 7])

    def draw_rows(rows: list[int], seed: tuple[int, int] = (3, 4)) -> np.ndarray:
        uniforms = sampling.uniform_rows(tf.constant(seed), tf.gather(keys, rows), [4, MAX_LENGTH])
        return sampling.sample(decoder, tf.gather(features, rows), uniforms).numpy()

    whole = draw_rows([0, 1, 2, 3, 4, 5])
    np.testing.assert_array_equal(draw_rows([0, 1, 2, 3, 4, 5]), whole)
    parts = [draw_rows([4, 5]), draw_rows([3]), draw_rows([0, 1, 2])]
    np.testing.assert_array_equal(np.concatenate([parts[2], parts[1], parts[0]]), whole)
    for other in (draw_rows([0, 1, 2, 3, 4, 5], seed) for seed in ((3, 5), (4, 4))):
        assert (other != whole).any(axis=(1, 2)).sum() > 3


def test_graph_equals_eager():
    decoder, features = make_decoder("attention"), make_features()

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None, CHANNELS]), tf.TensorSpec([None, 3, MAX_LENGTH])
        ], autograph=False
    )  # fmt: skip
    def graph(features, uniforms):
        return sampling.sample(decoder, features, uniforms)

    uniforms = sampling.uniform_rows(tf.constant([0, 0]), tf.range(BATCH), [3, MAX_LENGTH])
    found = graph(features, uniforms)
    assert found.shape[2] == MAX_LENGTH + 1
    np.testing.assert_array_equal(found, sampling.sample(decoder, features, uniforms))
