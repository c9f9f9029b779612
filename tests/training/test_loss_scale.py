"""Training in float16 with a loss scale."""

from __future__ import annotations

import landscapes
import numpy as np
import outputs
import pytest
import tensorflow as tf
from training_steps import build_train_step, create_state, first_batch

from imcap import train
from imcap.training import loss_scale
from imcap.training.loss_scale import LossScale


def test_the_scale_doubles_after_many_finite_steps_and_halves_after_an_overflow():
    scale = LossScale()
    scale.finite_steps.assign(1998)
    values = []
    for is_finite in (True, True, True, False, True):
        scale.update(tf.constant(is_finite))
        values.append(float(scale.value) / loss_scale.INITIAL)
    assert values == [1.0, 2.0, 2.0, 1.0, 1.0]
    assert int(scale.finite_steps) == 1


def test_a_scale_that_is_next_to_nothing_is_exhausted():
    scale = LossScale()
    assert not scale.is_exhausted()
    scale.value.assign(1e-7)
    assert scale.is_exhausted()


@pytest.fixture
def float16(tmp_path, landscape_data):
    """A state in float16, its step and a batch."""
    config = landscapes.make_config(
        tmp_path, landscape_data, train__compute_dtype="float16", train__warmup=0.0
    )
    state, batch = create_state(config, "float16"), first_batch(config)
    return state, build_train_step(config, state, batch), batch


def weights_of(state) -> list[np.ndarray]:
    return [weight.numpy() for weight in state.decoder.weights]


def test_float16_learns(float16):
    state, step, batch = float16
    losses = [float(step(batch).shown) for _ in range(20)]
    assert losses[-1] < 0.9 * losses[0]
    assert float(state.loss_scale.value) == loss_scale.INITIAL
    assert int(state.optimizer.iterations) == 20


def test_an_overflow_leaves_out_the_update_and_halves_the_scale(float16):
    state, step, batch = float16
    before = weights_of(state)
    state.loss_scale.value.assign(2.0**60)
    output = step(batch)
    for weight, unchanged in zip(weights_of(state), before, strict=True):
        np.testing.assert_array_equal(weight, unchanged)
    assert float(state.loss_scale.value) == 2.0**59
    assert int(state.optimizer.iterations) == 0
    assert state.step.numpy() == 1
    # The step counts, and does not look like divergence.
    assert np.isfinite(state.sums.numpy()).all()
    assert float(output.gradient_norm) == 0.0


def test_float32_needs_no_scale(tmp_path, landscape_data):
    assert create_state(landscapes.make_config(tmp_path, landscape_data)).loss_scale is None


def test_the_scale_is_in_the_last_checkpoint(tmp_path, landscape_data):
    config = landscapes.make_config(
        tmp_path, landscape_data, train__compute_dtype="float16", train__epochs=1
    )
    train.train_and_evaluate(config, str(tmp_path), "none")
    found = outputs.saved_state(tmp_path, "last")
    (key,) = (key for key in found if key.startswith("loss_scale/value"))
    assert found[key] == loss_scale.INITIAL
