"""Self-critical training: its gradient is that of the expected reward, and it finds the optimum."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf
from small_decoders import make_decoder

from imcap import config as config_lib
from imcap import decoders
from imcap.decoders.base import NO_DROPOUT, Dropout
from imcap.decoding import sampling
from imcap.metrics.document_frequencies import DocumentFrequencies
from imcap.text import END, PAD, START, UNKNOWN
from imcap.training import gradients, self_critical, steps
from imcap.training.objectives import CrossEntropy, Randomness
from imcap.training.optimizer import SummedAdamW
from imcap.training.rewards import CaptionReward
from imcap.training.self_critical import SelfCritical

VOCABULARY = 7  # Three words.
WORDS = range(END + 1, VOCABULARY)
MAX_LENGTH = 2


def all_captions() -> np.ndarray:
    """Every caption that can be sampled, int32 [13, MAX_LENGTH + 1]."""
    rows = [
        [*words, END] + [PAD] * (MAX_LENGTH - count)
        for count in range(MAX_LENGTH + 1)
        for words in itertools.product(WORDS, repeat=count)
    ]
    return np.array(rows, np.int32)


def new_decoder(kind: str, units: int):
    """A decoder of which every word is as probable as any other."""
    config = config_lib.model_defaults()
    config.update(decoder=kind, units=units, embedding_size=units - 1)
    return decoders.build(config, VOCABULARY, 3)


def tiny_decoder(kind: str):
    decoder, rng = new_decoder(kind, 4), np.random.default_rng(3)
    for weight in decoder.weights:
        weight.assign(rng.normal(0, 0.6, weight.shape))
    return decoder


def probabilities(decoder, features: tf.Tensor, temperature: float) -> np.ndarray:
    """The probability of each of `all_captions` for one image, float64 [13], by single steps."""
    captions = all_captions()
    memory, carry = decoder.start(features, len(captions), NO_DROPOUT)
    previous, total = np.full(len(captions), START), np.zeros(len(captions))
    for column in range(MAX_LENGTH):
        logits, carry = decoder.step(tf.constant(previous[None], tf.int32), memory, carry)
        logits = logits.numpy()[0].astype(np.float64) / temperature
        logits[:, [PAD, UNKNOWN, START]] = -np.inf
        log_softmax = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        chosen = captions[:, column]
        is_token = chosen != PAD
        total[is_token] += log_softmax[is_token, chosen[is_token]]
        previous = chosen
    return np.exp(total)


@pytest.mark.parametrize(("kind", "temperature"), [("attention", 1.0), ("merge", 0.5)])
def test_the_gradient_is_that_of_the_expected_reward_by_finite_differences(kind, temperature):
    """All pairs of captions are enumerated, so that both expectations are exact."""
    decoder, rng = tiny_decoder(kind), np.random.default_rng(0)
    features = tf.constant(rng.normal(size=(1, 2, 3)), tf.float32)
    captions = all_captions()
    rewards = rng.normal(2.0, 1.0, len(captions))
    found = probabilities(decoder, features, temperature)
    assert found.sum() == pytest.approx(1.0, abs=1e-6)

    pairs = np.array(list(itertools.product(range(len(captions)), repeat=2)))
    weights = found[pairs].prod(axis=1, keepdims=True)  # Of each pair of samples.
    advantages = self_critical.leave_one_out(tf.constant(rewards[pairs], tf.float32))
    with tf.GradientTape() as tape:
        loss = self_critical.surrogate_loss(
            decoder, tf.repeat(features, len(pairs), axis=0), tf.constant(captions[pairs]),
            advantages * weights, temperature,
        ) / 2  # fmt: skip
    gradients = tape.gradient(loss, [weight.value for weight in decoder.trainable_variables])
    for weight, gradient in zip(decoder.trainable_variables, gradients, strict=True):
        gradient, before = tf.convert_to_tensor(gradient).numpy(), weight.numpy()
        step = 5e-3 * np.where(rng.random(before.shape) < 0.5, 1, -1)
        weight.assign(before + step)
        above = probabilities(decoder, features, temperature) @ rewards
        weight.assign(before - step)
        slope = (above - probabilities(decoder, features, temperature) @ rewards) / 2
        weight.assign(before)
        assert slope == pytest.approx(-np.sum(gradient * step), rel=0.02, abs=1e-5), weight.name


@pytest.mark.parametrize("kind", ["attention", "merge"])
def test_a_replica_without_an_image_has_a_loss_of_zero(kind):
    samples = tf.zeros([0, 2, MAX_LENGTH + 1], tf.int32)
    loss = tf.function(self_critical.surrogate_loss, autograph=False)
    found = loss(tiny_decoder(kind), tf.zeros([0, 2, 3]), samples, tf.zeros([0, 2]))
    assert found == 0


def test_the_baseline_of_a_sample_is_the_mean_of_the_others():
    rewards = np.random.default_rng(0).random((4, 5)).astype(np.float32)
    found = self_critical.leave_one_out(tf.constant(rewards)).numpy()
    for row, column in np.ndindex(rewards.shape):
        others = np.delete(rewards[row], column)
        assert found[row, column] == pytest.approx(rewards[row, column] - others.mean(), abs=1e-6)


def matches(samples: tf.Tensor, references: tf.Tensor) -> tf.Tensor:
    """The share of columns in which a sample is the image's only reference."""
    wanted = tf.pad(references, [[0, 0], [0, 0], [0, samples.shape[2] - references.shape[2]]])
    return tf.reduce_mean(tf.cast(samples == wanted, tf.float32), axis=-1)


def make_batch(tokens: list[list[int]]) -> dict[str, tf.Tensor]:
    """A caption each for images, of which three have different features."""
    return {
        "image_id": tf.constant([f"image {number}" for number in range(len(tokens))]),
        "features": 3 * tf.one_hot(tf.range(len(tokens)) % 3, 3)[:, tf.newaxis],
        "tokens": tf.constant(tokens, tf.int32)[:, tf.newaxis],
    }


def build_step(decoder, objective, batch, learning_rate: float = 0.03):
    strategy = tf.distribute.get_strategy()
    state = steps.create_state(
        strategy, lambda: decoder, lambda: SummedAdamW(learning_rate), len(objective.SUMS)
    )
    spec = tf.nest.map_structure(tf.type_spec_from_value, batch)
    step = steps.build_train_step(
        strategy, state, objective, seed=5, clip_norm=5.0, batch_spec=spec
    )
    return state, step


def test_the_policy_converges_to_the_captions_with_the_highest_reward():
    """Of each image one of the four captions of at most a word: the empty one and those of a word;
    the words that are best for one image are worst for another."""
    table = tf.constant([[0.2, 1.0, 0.4, 0.0], [1.0, 0.0, 0.3, 0.5], [0.0, 0.5, 0.2, 1.0]])
    decoder, batch = new_decoder("inject", 16), make_batch([[START, 4, END]] * 3)
    objective = SelfCritical(
        decoder,
        lambda samples, _: tf.gather(table, samples[..., 0] - END, batch_dims=1),
        samples=20,
        max_length=1,
    )
    _, step = build_step(decoder, objective, batch, learning_rate=0.01)
    rewards = [float(step(batch).shown) for _ in range(80)]
    assert np.mean(rewards[:3]) < 0.6
    assert np.mean(rewards[-20:]) > 0.95
    uniforms = tf.random.stateless_uniform([3, 200, 1], [1, 2])
    samples = sampling.sample(decoder, batch["features"], uniforms).numpy()
    best = END + np.argmax(table, axis=1)
    assert ((samples[..., 0] == best[:, None]).mean(axis=1) > 0.9).all()


def test_a_step_sums_rewards_and_samples():
    batch = make_batch([[START, 4, END], [START, 6, END]])
    decoder = tiny_decoder("inject")
    objective = SelfCritical(decoder, matches, samples=4, max_length=2)
    state, step = build_step(decoder, objective, batch)
    reward = float(step(batch).shown)
    np.testing.assert_allclose(state.sums[:-1], [8 * reward, 8, 8, 0, 0], rtol=1e-5)
    assert state.sums[-1] > 0  # The gradient norm.
    columns = objective.columns(state.sums.numpy())
    assert columns == pytest.approx({"reward": reward, "loss": -reward}, rel=1e-5)


def test_images_without_captions_do_not_change_the_mean():
    """Neither the gradients nor the sums."""
    with_captions = make_batch([[START, 4, END], [START, 6, END]])
    batch = make_batch([[START, 4, END], [START, 6, END], [PAD] * 3])
    seeds = gradients.Seeds(tf.constant([1, 2]), tf.constant([1, 2]))
    decoder = tiny_decoder("attention")
    weights = [weight.value for weight in decoder.trainable_variables]
    objective = SelfCritical(decoder, matches, samples=4, max_length=2)
    expected, expected_sums = gradients.at_once(objective, weights, with_captions, seeds)
    found, sums = gradients.at_once(objective, weights, batch, seeds)
    np.testing.assert_allclose(sums, expected_sums, rtol=1e-6)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-7)


def test_a_batch_without_captions_has_a_reward_and_gradients_of_zero():
    batch = make_batch([[START, 4, END]]) | {"tokens": tf.zeros([1, 0, 1], tf.int32)}
    decoder = tiny_decoder("inject")
    references = [np.array([[[4, END], [5, END]]]), np.array([[[6, END], [4, END]]])]
    frequencies = DocumentFrequencies.count(iter(references), VOCABULARY)
    objective = SelfCritical(
        decoder,
        CaptionReward(frequencies, bleu4_weight=0.5),
        samples=4,
        max_length=2,
        cross_entropy=CrossEntropy(decoder),
        cross_entropy_weight=0.3,
    )
    state, step = build_step(decoder, objective, batch)
    assert float(step(batch).shown) == 0
    np.testing.assert_array_equal(state.sums, tf.zeros([6]))
    assert objective.columns(state.sums.numpy()) == {"reward": 0, "loss": 0}


def outcome_of(weight: float, dropout: Dropout = NO_DROPOUT):
    decoder = make_decoder("inject", dropout=0.5)
    batch = make_batch([[START, 4, END], [START, 6, END], [0, 0, 0]])
    batch["features"] = tf.random.stateless_normal([3, 2, 5], [0, 0])
    objective = SelfCritical(
        decoder, matches, samples=4, max_length=3, cross_entropy=CrossEntropy(decoder, 0.1),
        cross_entropy_weight=weight,
    )  # fmt: skip
    outcome = objective(batch, Randomness(dropout, tf.constant([1, 2])))
    (mean,), sums = CrossEntropy(decoder, 0.1)(batch, Randomness(dropout, tf.constant([0, 0])))
    return objective, outcome, mean, sums


def test_cross_entropy_is_added_with_its_weight():
    _, alone, *_ = outcome_of(0.0)
    objective, outcome, mean, sums = outcome_of(0.3)
    (first,) = alone.terms
    np.testing.assert_allclose(outcome.terms[0], first)
    np.testing.assert_allclose(outcome.terms[1], [0.3 * mean.total, mean.count], rtol=1e-6)
    np.testing.assert_allclose(outcome.sums, [*alone.sums[:3], *sums[:2]], rtol=1e-6)
    reward = float(alone.sums[0]) / 8  # Four samples of each image that has captions.
    columns = objective.columns(outcome.sums.numpy())
    expected = {"reward": reward, "loss": 0.3 * float(sums[0]) / 4 - reward}
    assert columns == pytest.approx(expected, rel=1e-5)


def test_dropout_changes_the_cross_entropy_only():
    (reinforced, entropy), (dropped, dropped_entropy) = (
        outcome_of(0.3, dropout)[1].terms for dropout in (NO_DROPOUT, Dropout(tf.constant([7, 7])))
    )
    np.testing.assert_array_equal(dropped, reinforced)
    assert dropped_entropy.total != entropy.total


def test_dropout_holds_where_samples_are_learnt_from_if_it_is_asked_for():
    decoder = make_decoder("inject", dropout=0.5)
    batch = make_batch([[START, 4, END], [START, 6, END]])
    batch["features"] = tf.random.stateless_normal([2, 2, 5], [0, 0])
    objective = SelfCritical(decoder, matches, samples=4, max_length=2, dropout=True)
    seed = tf.constant([1, 2])
    plain, dropped = (
        objective(batch, Randomness(dropout, seed))
        for dropout in (NO_DROPOUT, Dropout(tf.constant([7, 7])))
    )
    np.testing.assert_array_equal(dropped.sums, plain.sums)  # The same samples.
    assert dropped.terms[0].total != plain.terms[0].total


def test_samples_differ_between_steps_and_not_between_repetitions():
    batch = make_batch([[START, 4, 5, END]] * 4)
    found = []
    for _ in range(2):
        decoder = tiny_decoder("inject")
        objective = SelfCritical(decoder, matches, samples=5, max_length=4)
        _, step = build_step(decoder, objective, batch, learning_rate=1e-12)
        found.append([float(step(batch).shown) for _ in range(6)])
    assert found[0] == found[1]
    assert len(set(found[0])) > 2
