"""Several decoders as one, against averaging their probabilities in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from ml_collections import ConfigDict
from small_decoders import (
    CHANNELS,
    POSITIONS,
    VOCABULARY,
    make_decoder,
    make_features,
    make_tokens,
    stepped,
    teacher_forced,
)

from imcap.decoders.base import NO_DROPOUT, Decoder
from imcap.decoding import attention, beam_search
from imcap.decoding.ensemble import Ensemble
from imcap.text import END, PAD, START

SEARCH = ConfigDict({"beam_size": 3, "length_penalty": 0.7, "max_length": 6, "no_repeat_ngram": 3})


@pytest.fixture(scope="module")
def members() -> list[Decoder]:
    """Decoders of several kinds and sizes."""
    return [
        make_decoder("attention"),
        make_decoder("inject", layers=2),
        make_decoder("attention", heads=2, tie_embeddings=False),
        make_decoder("merge"),
        make_decoder("language_model"),
    ]


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits.astype(np.float64))
    return powers / powers.sum(axis=-1, keepdims=True)


def mean_log_probabilities(members: list[Decoder], tokens: np.ndarray) -> np.ndarray:
    """The logarithm of the mean probability of each next word, by the members' own steps."""
    single = [softmax(stepped(member, make_features(), tokens)) for member in members]
    return np.log(np.mean(single, axis=0))


@pytest.mark.parametrize("compute", [stepped, teacher_forced])
@pytest.mark.parametrize("count", [2, 5])
def test_probabilities_are_the_mean_of_the_members_probabilities(members, count, compute):
    tokens = make_tokens()
    found = compute(Ensemble(members[:count]), make_features(), tokens)
    assert found.dtype == np.float32 and found.shape == (*tokens.shape, VOCABULARY)
    np.testing.assert_allclose(found, mean_log_probabilities(members[:count], tokens), atol=1e-5)


def test_the_mean_is_not_that_of_logits(members):
    found = stepped(Ensemble(members), make_features(), make_tokens())
    logits = np.mean([stepped(m, make_features(), make_tokens()) for m in members], axis=0)
    assert np.abs(softmax(found) - softmax(logits)).max() > 0.05


def test_a_word_that_a_member_rules_out_keeps_half_of_the_other_s_probability(members):
    certain, other = members[0], members[1]
    ruled_out = make_decoder("attention")
    bias = certain.output_bias.numpy()
    ruled_out.output_bias.assign(np.where(np.arange(VOCABULARY) == 5, -1e4, bias))
    tokens = make_tokens()
    found = softmax(stepped(Ensemble([ruled_out, other]), make_features(), tokens))[..., 5]
    np.testing.assert_allclose(
        found, softmax(stepped(other, make_features(), tokens))[..., 5] / 2, rtol=1e-4
    )


def greedy_by_hand(members: list[Decoder], features: tf.Tensor) -> tuple[list[int], float]:
    """The most probable word after the other for the first image, END last, and the sum of their
    log-probabilities; padding, [UNK], START and the word before are never chosen."""
    words, total = [START], 0.0
    for _ in range(SEARCH.max_length):
        tokens = np.array([[words]], np.int32)
        probabilities = np.mean(
            [softmax(stepped(m, features[:1], tokens))[0, 0, -1] for m in members], axis=0
        )
        allowed = np.setdiff1d(np.arange(VOCABULARY), [PAD, 1, START, words[-1]])
        best = int(allowed[probabilities[allowed].argmax()])
        words.append(best)
        total += float(np.log(probabilities[best]))
        if best == END:
            break
    return words[1:], total


def test_greedy_search_of_an_ensemble_is_that_by_hand(members):
    # Few words, so that no n-gram of three could come twice.
    features, config = make_features(), ConfigDict(SEARCH.to_dict() | {"beam_size": 1})
    config.no_repeat_ngram = 0
    found = beam_search.search(Ensemble(members[:3]), features, config)
    words, total = greedy_by_hand(members[:3], features)
    tokens = found.tokens.numpy()[0, 0].tolist()
    assert tokens[: len(words)] == words
    if words[-1] == END:
        np.testing.assert_allclose(found.scores[0, 0], total / len(words), atol=1e-5)


def test_captions_found_have_the_scores_of_given_captions(members):
    ensemble, features = Ensemble(members), make_features()
    found = tf.function(lambda: beam_search.search(ensemble, features, SEARCH), autograph=False)()
    start = tf.fill([*found.tokens.shape[:2], 1], START)
    total, count = beam_search.log_probability(
        ensemble, features, tf.concat([start, found.tokens], axis=2)
    )
    np.testing.assert_allclose(total / count, found.scores, atol=1e-5)


def test_an_ensemble_of_equal_members_finds_what_one_of_them_finds(members):
    alone = beam_search.search(members[0], make_features(), SEARCH)
    found = beam_search.search(Ensemble([members[0]] * 3), make_features(), SEARCH)
    np.testing.assert_array_equal(found.tokens, alone.tokens)
    np.testing.assert_allclose(found.scores, alone.scores, atol=1e-5)


def test_attention_is_the_mean_of_the_members_that_have_any(members):
    tokens = tf.constant(make_tokens()[:, 0, 1:])
    ensemble = Ensemble(members)
    assert attention.has_attention(ensemble, (POSITIONS, CHANNELS))
    found = attention.attention_weights(ensemble, make_features(), tokens)
    own = [attention.attention_weights(members[i], make_features(), tokens) for i in (0, 2)]
    np.testing.assert_allclose(found, np.mean(own, axis=0), atol=1e-6)
    assert found.shape[2] == POSITIONS
    assert not attention.has_attention(Ensemble([members[1], members[3]]), (POSITIONS, CHANNELS))


def test_a_state_keeps_its_structure_from_step_to_step(members):
    memory, carry = Ensemble(members).start(make_features(), 2, NO_DROPOUT)
    _, after = Ensemble(members).step(tf.fill([2, 2], START), memory, carry)
    assert sorted(after) == sorted(carry)
    assert {key: value.shape for key, value in after.items()} == {
        key: value.shape for key, value in carry.items()
    }
