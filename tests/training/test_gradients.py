"""Gradients in parts of a batch: the updates of the whole batch."""

from __future__ import annotations

from collections.abc import Iterator

import landscapes
import numpy as np
import pytest
import tensorflow as tf
from training_steps import build_train_step, create_state, first_batch

from imcap.training import steps
from imcap.training.objectives import Batch, CrossEntropy, Mean, Outcome, Randomness


def first_images(config, count: int) -> Batch:
    return {key: value[:count] for key, value in first_batch(config).items()}


def train(config, batch: Batch, num_steps: int = 3) -> tuple[list[np.ndarray], np.ndarray]:
    """Returns the weights after some steps on the same batch, and the state's sums."""
    state = create_state(config)
    step = build_train_step(config, state, batch)
    for _ in range(num_steps):
        step(batch)
    assert state.step.numpy() == num_steps
    return [weight.numpy() for weight in state.decoder.weights], state.sums.numpy()


def assert_same(found, expected) -> None:
    for one, other in zip(found[0], expected[0], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-4)


def test_a_batch_in_parts_gives_the_update_of_the_whole(tmp_path, landscape_data):
    """Dropout is off; eight images in three parts, each with captions of several lengths."""
    changes = {"train__label_smoothing": 0.1, "train__clip_norm": 0.2}
    config = landscapes.make_config(tmp_path, landscape_data, **changes)
    in_parts = landscapes.make_config(
        tmp_path, landscape_data, train__accumulate_steps=3, **changes
    )
    batch = first_images(config, 8)
    assert_same(train(in_parts, batch), train(config, batch))


class _TwoTerms(CrossEntropy):
    """Cross-entropy per token, and a mean over images."""

    def __call__(self, batch: Batch, randomness: Randomness) -> Outcome:
        (tokens,), sums = super().__call__(batch, randomness)
        bias = tf.convert_to_tensor(self._decoder.output_bias)
        images = tf.cast(tf.shape(batch["tokens"])[0], tf.float32)
        first = tf.cast(batch["tokens"][:, 0, 1], tf.float32)
        return Outcome([tokens, Mean(tf.reduce_sum(first) * tf.reduce_sum(bias), images)], sums)


@pytest.fixture
def eagerly() -> Iterator[None]:
    """Functions are not traced, which takes longer than a single step in several parts."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.mark.filterwarnings("ignore:Even though")  # The input pipeline stays a graph.
@pytest.mark.usefixtures("eagerly")
def test_every_term_is_a_mean_over_all_parts(tmp_path, landscape_data):
    config = landscapes.make_config(tmp_path, landscape_data)
    batch = first_images(config, 3)
    spec = tf.nest.map_structure(tf.type_spec_from_value, batch)
    norms = []
    for parts in (1, 2, 4):  # At most as many parts as images.
        state = create_state(config)
        step = steps.build_train_step(
            tf.distribute.get_strategy(), state, _TwoTerms(state.decoder), seed=0, clip_norm=0.0,
            batch_spec=spec, accumulate_steps=parts,
        )  # fmt: skip
        norms.append(float(step(batch).gradient_norm))
    assert norms[1:] == pytest.approx([norms[0]] * 2, rel=1e-5)
