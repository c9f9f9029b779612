"""The losses that training minimizes."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import tensorflow as tf
from small_decoders import make_decoder, make_features

from imcap import config as config_lib
from imcap import decoders, text
from imcap.decoders import DECODERS
from imcap.decoders.base import NO_DROPOUT
from imcap.training import OBJECTIVES, gradients, objectives

VOCABULARY = 9


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_cross_entropy_with_label_smoothing_of_all_tokens_but_padding(smoothing):
    config = config_lib.model_defaults()
    config.update(units=8, embedding_size=6)
    decoder = decoders.build(config, VOCABULARY, 4)
    rng = np.random.default_rng(0)
    for weight in decoder.weights:
        weight.assign(rng.normal(0, 0.6, weight.shape))
    features = tf.constant(rng.normal(size=(2, 3, 4)), tf.float32)
    tokens = np.array([[[2, 5, 6, 3], [2, 7, 3, 0]], [[2, 8, 4, 5], [0, 0, 0, 0]]], np.int32)

    logits = decoder.logits(
        decoder.output_vectors(features, tf.constant(tokens[..., :-1]), NO_DROPOUT)
    )
    logits = logits.numpy().astype(np.float64)
    log_probabilities = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    targets = tokens[..., 1:]
    one_hot = np.eye(VOCABULARY)[targets]
    smoothed = (1 - smoothing) * one_hot + smoothing / VOCABULARY
    is_token = targets != text.PAD

    objective = objectives.CrossEntropy(decoder, smoothing)
    losses, entropies = objective.token_losses(features, tf.constant(tokens), NO_DROPOUT)
    expected = -(smoothed * log_probabilities).sum(-1)[is_token]
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    expected_entropies = -(one_hot * log_probabilities).sum(-1)[is_token]
    np.testing.assert_allclose(entropies, expected_entropies, rtol=1e-5)

    randomness = objectives.Randomness(NO_DROPOUT, tf.constant([0, 0]))
    outcome = objective({"features": features, "tokens": tf.constant(tokens)}, randomness)
    ((total, count),) = outcome.terms
    np.testing.assert_allclose([total, count], [expected.sum(), 8], rtol=1e-5)
    np.testing.assert_allclose(outcome.sums, [expected_entropies.sum(), 8, 3], rtol=1e-5)
    loss = objective.columns(outcome.sums.numpy())["loss"]
    assert loss == pytest.approx(expected_entropies.mean(), rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_gradients_of_smoothed_and_plain_cross_entropy_equal_those_of_tensorflow(smoothing):
    rng = np.random.default_rng(0)
    logits = tf.constant(rng.normal(0, 30, [6, VOCABULARY]), tf.float32)
    targets = tf.constant([0, 3, 8, 8, 1, 5])
    of_smoothed, of_entropies = (tf.constant(rng.normal(size=6), tf.float32) for _ in range(2))
    smoothed_targets = (1 - smoothing) * tf.one_hot(targets, VOCABULARY) + smoothing / VOCABULARY
    with tf.GradientTape() as tape, tf.GradientTape() as expected_tape:
        tape.watch(logits)
        expected_tape.watch(logits)
        smoothed, entropies = objectives.smoothed_cross_entropy(logits, targets, smoothing)
        total = tf.reduce_sum(smoothed * of_smoothed + entropies * of_entropies)
        expected = tf.reduce_sum(
            tf.nn.softmax_cross_entropy_with_logits(smoothed_targets, logits) * of_smoothed
            + tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits) * of_entropies
        )
    np.testing.assert_allclose(total, expected, rtol=1e-5)
    found, expected = tape.gradient(total, logits), expected_tape.gradient(expected, logits)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("kind", sorted(DECODERS))
def test_a_batch_without_captions_has_a_loss_and_gradients_of_zero(kind):
    decoder = make_decoder(kind)
    tokens = tf.zeros([2, 0, 1], tf.int32)  # As the input pipeline has it.
    batch = {"features": make_features(), "tokens": tokens}
    weights = [weight.value for weight in decoder.trainable_variables]
    seeds = gradients.Seeds(tf.constant([1, 2]), tf.constant([1, 2]))
    objective = objectives.CrossEntropy(decoder, 0.1)
    for compute in (gradients.at_once, functools.partial(gradients.in_parts, parts=2)):
        found, sums = compute(objective, weights, batch, seeds)
        assert all(not one.numpy().any() for one in found)
        assert objective.columns(sums.numpy()) == objective.columns(sums) == {"loss": 0}
    np.testing.assert_array_equal(sums, [0, 0, 0])


def test_large_logits_give_finite_losses_and_gradients():
    logits = tf.constant([[1e5, -1e5, 0.0], [-1e30, 1e30, 0.0]])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        losses, _ = objectives.smoothed_cross_entropy(logits, tf.constant([0, 1]), 0.0)
    np.testing.assert_array_equal(losses, [0, 0])
    np.testing.assert_array_equal(tape.gradient(losses, logits), tf.zeros([2, 3]))


def test_every_objective_has_the_number_of_captions_as_its_third_sum():
    """The rate of a training is computed from it."""
    for name in OBJECTIVES:
        assert OBJECTIVES.load(name).SUMS[2] == "captions"
