"""The progress bar of a training."""

from __future__ import annotations

import landscapes
import pytest
import tensorflow as tf
from training_steps import create_state

from imcap.training.loop.meter import Meter


def test_the_bar_shows_step_epoch_loss_and_rate(tmp_path, landscape_data, capsys):
    state = create_state(landscapes.make_config(tmp_path, landscape_data))
    meter = Meter(state, steps_per_epoch=15, total_steps=30, show=True)
    assert meter.rate() == 0.0
    for step in range(1, 21):
        state.sums.assign_add([0.0, 0.0, 4.0, 0.0])  # Captions of the step.
        meter.update(step, tf.constant(2.5))
    assert meter.rate() > 0
    meter.close()
    last = capsys.readouterr().err.split("\r")[-1]
    assert "20/30" in last
    assert "epoch=2" in last and "loss=2.500" in last and "captions_s=" in last


@pytest.mark.parametrize(("step", "is_left_out"), [(5, True), (15, False)])
def test_the_rate_leaves_out_the_first_step_of_a_process_unless_it_ends_the_epoch(
    tmp_path, landscape_data, step, is_left_out
):
    state = create_state(landscapes.make_config(tmp_path, landscape_data))
    state.step.assign(step - 1)
    meter = Meter(state, steps_per_epoch=15, total_steps=30, show=False)
    state.sums.assign_add([0.0, 0.0, 4.0, 0.0])
    meter.update(step, tf.constant(2.5))
    assert (meter.rate() == 0.0) == is_left_out
    state.sums.assign_add([0.0, 0.0, 4.0, 0.0])
    assert meter.rate() > 0
    meter.close()


def test_an_epoch_of_one_step_has_the_rate_of_its_own_captions(tmp_path, landscape_data):
    state = create_state(landscapes.make_config(tmp_path, landscape_data))
    meter = Meter(state, steps_per_epoch=1, total_steps=3, show=False)
    for step in range(1, 4):
        state.sums.assign_add([0.0, 0.0, 4.0, 0.0])
        meter.update(step, tf.constant(2.5))
        assert meter.rate() > 0
        state.sums.assign([0.0, 0.0, 0.0, 0.0])
        meter.restart()
        assert meter.rate() == 0.0
    meter.close()


def test_the_bar_names_what_the_objective_shows(tmp_path, landscape_data, capsys):
    state = create_state(landscapes.make_config(tmp_path, landscape_data))
    meter = Meter(state, steps_per_epoch=20, total_steps=20, value="reward", show=True)
    for step in range(1, 21):
        meter.update(step, tf.constant(0.75))
    meter.close()
    last = capsys.readouterr().err.split("\r")[-1]
    assert "reward=0.750" in last and "loss" not in last


def test_a_process_that_is_not_the_chief_shows_no_bar(tmp_path, landscape_data, capsys):
    state = create_state(landscapes.make_config(tmp_path, landscape_data))
    meter = Meter(state, steps_per_epoch=15, total_steps=30, show=False)
    meter.update(1, tf.constant(2.5))
    meter.close()
    assert capsys.readouterr().err == ""
