"""Trainings that a signal stops: a real process, which exits with 0 and continues exactly."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import landscapes
import numpy as np
import outputs
import processes
import pytest
import train_worker
from ml_collections import ConfigDict

from imcap import config as config_lib
from imcap import train

STEPS_PER_EPOCH = 5
DEADLINE = 180  # Seconds until a process counts as stuck.
_LAST_SAVE = "imcap.training.checkpoints:Checkpoints.save_last"
_SCORING = "imcap.decoding.predictions:Predictor.predict_split"


def make_config(workdir: Path, data: Path) -> ConfigDict:
    """A run of 15 steps with dropout, saved after every step."""
    dropout = dict.fromkeys(("dropout", "embedding_dropout", "feature_dropout"), 0.3)
    return landscapes.make_config(
        workdir, data, train__epochs=3, train__checkpoint_minutes=1e-9,
        **{f"model__{key}": rate for key, rate in dropout.items()},
    )  # fmt: skip


@pytest.fixture
def whole(landscape_data, tmp_path_factory) -> Path:
    """The workdir of the run that nothing has stopped."""
    workdir = tmp_path_factory.mktemp("whole")
    train.train_and_evaluate(make_config(workdir, landscape_data), str(workdir), "none")
    return workdir


def stop(workdir: Path, where: str, call: int, number: signal.Signals) -> str:
    """Trains in a process that sends itself a signal; returns the last line that it writes.

    Args:
      workdir: of the run.
      where, call: see `train_worker.signal_itself`.
      number: of the signal.
    """
    err = workdir / "err"
    err.unlink(missing_ok=True)
    process = processes.fork(
        train_worker.signal_itself, where, call, int(number),
        ["train", f"--workdir={workdir}"], str(workdir / "out"), str(err),
    )  # fmt: skip
    process.join(DEADLINE)
    assert process.exitcode == 0
    return err.read_text().splitlines()[-1]


def test_a_training_that_signals_stop_continues_to_identical_weights(
    tmp_path, landscape_data, whole
):
    config = make_config(tmp_path, landscape_data)
    config_lib.save(config, str(tmp_path))
    for where, call, number, step in (
        (_LAST_SAVE, 8, signal.SIGINT, 8),
        # The dev scores of the second epoch, the first that this process captions for, and those
        # of the last one, after the second's: they are repeated.
        (_SCORING, 1, signal.SIGTERM, 10),
        (_SCORING, 2, signal.SIGTERM, 15),
    ):
        assert stop(tmp_path, where, call, number) == (
            f"imcap: stopped by {number.name} after step {step} of 15, which is saved: the same "
            "command continues"
        )
        assert outputs.step(tmp_path) == step
    train.train_and_evaluate(config, str(tmp_path), "none")
    for name in ("last", "best"):
        found, expected = (outputs.saved_state(folder, name) for folder in (tmp_path, whole))
        assert set(found) == set(expected)
        for key, value in expected.items():
            np.testing.assert_array_equal(found[key], value, err_msg=key)
    histories = [outputs.history(folder) for folder in (tmp_path, whole)]
    for row in (*histories[0], *histories[1]):
        del row["captions_per_second"], row["waiting_share"]  # Depend on the clock.
    assert histories[0] == histories[1]


def test_workers_stop_after_the_same_step_when_one_gets_a_signal(tmp_path, landscape_data):
    config = landscapes.make_config(
        tmp_path, landscape_data, train__epochs=5000, train__eval_every=5000,
        train__checkpoint_minutes=1e-9,
    )  # fmt: skip
    config_lib.save(config, str(tmp_path))
    running = [
        processes.fork(
            # Only the second worker gets one.
            train_worker.signal_itself, _LAST_SAVE, 7 if index else 10**9, int(signal.SIGTERM),
            ["train", f"--workdir={tmp_path}"], str(tmp_path / f"out{index}"),
            str(tmp_path / f"err{index}"), tf_config,
        )
        for index, tf_config in enumerate(train_worker.cluster_of_two())
    ]  # fmt: skip
    try:
        for process in running:
            process.join(DEADLINE)
    finally:
        for process in running:
            process.kill()
    errors = [(tmp_path / f"err{index}").read_text() for index in range(2)]
    assert [process.exitcode for process in running] == [0, 0], errors
    steps = [re.search(r"stopped by (.+) after step (\d+) of", error).groups() for error in errors]
    assert [cause for cause, _ in steps] == ["a signal to another worker", "SIGTERM"]
    assert steps[0][1] == steps[1][1] == str(outputs.step(tmp_path))
