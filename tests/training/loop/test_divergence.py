"""Losses, gradients and weights that are not finite."""

from __future__ import annotations

import landscapes
import numpy as np
import outputs
import processes
import pytest
import tensorflow as tf
from training_steps import create_state

from imcap import config as config_lib
from imcap import train
from imcap.errors import DivergenceError
from imcap.training.loop.divergence import DivergenceCheck
from imcap.training.steps import StepOutput


def output(loss: float, norm: float) -> StepOutput:
    return StepOutput(tf.constant(loss), tf.constant(norm), tf.constant(0.0))


@pytest.fixture
def checked(tmp_path, landscape_data):
    """A state, and the check of it."""
    config = landscapes.make_config(tmp_path, landscape_data)
    state = create_state(config)
    return state, DivergenceCheck(state, str(tmp_path), config.train, "loss")


def test_finite_sums_and_weights_pass(checked):
    state, check = checked
    state.sums.assign([1.0, 2.0, 3.0, 4.0])
    check.add(1, output(1.0, 2.0))
    assert check.check_sums().tolist() == [1.0, 2.0, 3.0, 4.0]
    check.check_weights()


@pytest.mark.parametrize(
    ("outputs_", "says"),
    [
        ([(1, 1), (np.nan, 1), (np.nan, np.nan)], "the loss is nan at step 8;"),
        ([(1, 1), (1, np.inf), (np.nan, np.nan)], "the gradient norm is inf at step 8;"),
        ([(np.inf, np.nan), (1, 1), (1, 1)], "the loss is inf at step 7;"),
    ],
)
def test_the_first_step_that_is_not_finite_is_named(checked, outputs_, says):
    state, check = checked
    for number, (loss, norm) in enumerate(outputs_):
        check.add(7 + number, output(loss, norm))
        state.sums.assign_add([loss, 1.0, 1.0, norm])
    with pytest.raises(DivergenceError, match=says) as caught:
        check.check_sums()
    message = str(caught.value)
    assert "\n" not in message
    assert "no checkpoint was written before" in message
    assert "learning_rate below 0.03" in message and "clip_norm above 0 (it is 5)" in message


def test_a_weight_that_is_not_finite_is_found_before_a_save(checked):
    state, check = checked
    weight = state.decoder.weights[-1]
    weight.assign(np.full(weight.shape, np.inf))
    check.check_sums()
    with pytest.raises(DivergenceError, match="a weight is not finite after step 0;"):
        check.check_weights()


@pytest.mark.parametrize("minutes", [5.0, 1e-9])
def test_a_training_that_diverges_keeps_its_last_good_checkpoint(tmp_path, landscape_data, minutes):
    # The rate is 0 in the first step and absurd in the second.
    config = landscapes.make_config(
        tmp_path, landscape_data, train__learning_rate=1e38, train__clip_norm=0.0,
        train__warmup=0.02, train__checkpoint_minutes=minutes,
    )  # fmt: skip
    with pytest.raises(DivergenceError, match=r"is (nan|inf) at step \d+;|a weight is") as caught:
        train.train_and_evaluate(config, str(tmp_path), "none")
    if minutes < 1:
        step = outputs.step(tmp_path)
        assert f"last/last-{step} is from before and stays" in str(caught.value)
        saved = map(np.asarray, outputs.saved_state(tmp_path, "last").values())
        assert all(np.isfinite(value).all() for value in saved if value.dtype.kind == "f")
    else:
        assert not (tmp_path / "checkpoints").exists()
    assert not (tmp_path / "history.csv").exists()


def test_the_command_exits_with_1_and_says_what_to_try_in_one_line(tmp_path, landscape_data):
    config = landscapes.make_config(tmp_path, landscape_data, train__learning_rate=1e38)
    config_lib.save(config, str(tmp_path))
    finished = processes.run_fork("train", f"--workdir={tmp_path}")
    assert finished.status == 1
    line = finished.err.strip().splitlines()[-1]
    assert line.startswith("imcap: ") and "learning_rate below 1e+38" in line
    assert "Traceback" not in finished.err
