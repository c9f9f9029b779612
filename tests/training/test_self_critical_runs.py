"""Self-critical runs: they improve what they start from, and neither kills nor replicas matter."""

from __future__ import annotations

import signal

import landscapes
import numpy as np
import outputs
import processes
import pytest
import train_worker
from ml_collections import ConfigDict

from imcap import train
from imcap.training import checkpoints

STEPS_PER_EPOCH = 5
DEADLINE = 180  # Seconds until a process counts as stuck.
EPOCHS = 3


@pytest.fixture(scope="module")
def source(landscape_data, tmp_path_factory):
    """The workdir of a run that was trained for two epochs with cross-entropy."""
    workdir = tmp_path_factory.mktemp("source")
    config = landscapes.make_config(workdir, landscape_data, train__epochs=2)
    train.train_and_evaluate(config, str(workdir), "none")
    return workdir


def make_config(workdir, data, source, **changes) -> ConfigDict:
    """Both terms of the loss and of the reward, clipped gradients, dev scores in the end only."""
    values = {
        "train__objective": "self_critical",
        "train__from_checkpoint": str(source),
        "train__self_critical__samples": 4,
        "train__self_critical__temperature": 1.0,
        "train__self_critical__bleu4_weight": 0.5,
        "train__self_critical__cross_entropy_weight": 0.1,
        "train__epochs": EPOCHS,
        "train__eval_every": EPOCHS,
        "train__learning_rate": 5e-3,
        "train__clip_norm": 1.0,
    }
    return landscapes.make_config(workdir, data, **(values | changes))


@pytest.fixture(scope="module")
def whole(landscape_data, source, tmp_path_factory):
    """The workdir of an uninterrupted run on one replica."""
    workdir = tmp_path_factory.mktemp("whole")
    train.train_and_evaluate(make_config(workdir, landscape_data, source), str(workdir), "none")
    return workdir


def test_the_reward_rises_and_the_history_has_it(whole):
    rows = outputs.history(whole)
    rewards = [float(row["reward"]) for row in rows]
    assert len(rows) == EPOCHS
    assert rewards[-1] > rewards[0] + 0.1
    # What is minimized: minus the reward plus a tenth of the cross-entropy.
    entropies = [10 * (float(row["loss"]) + float(row["reward"])) for row in rows]
    assert all(0 < entropy < 5 for entropy in entropies)


def test_a_killed_run_ends_with_the_weights_of_an_uninterrupted_one(
    whole, tmp_path, landscape_data, source
):
    config = make_config(tmp_path, landscape_data, source, train__checkpoint_minutes=1e-6)
    # Dies before it writes the history of the first epoch, with the checkpoint of the step before.
    process = processes.fork(
        train_worker.die_at, "os.replace", "history.csv", config.to_dict(), str(tmp_path)
    )
    process.join(DEADLINE)
    assert process.exitcode == -signal.SIGKILL
    assert outputs.step(tmp_path) == STEPS_PER_EPOCH - 1
    train.train_and_evaluate(config, str(tmp_path), "none")
    for name in (checkpoints.LAST, checkpoints.BEST):
        found, expected = outputs.saved_state(tmp_path, name), outputs.saved_state(whole, name)
        assert set(found) == set(expected)
        for key, value in expected.items():
            np.testing.assert_array_equal(found[key], value, err_msg=key)


def test_two_replicas_train_the_weights_of_one(whole, tmp_path, landscape_data, source):
    """9 images a batch do not split evenly."""
    config, workdir = make_config(tmp_path, landscape_data, source), tmp_path / "mirrored"
    weights = str(tmp_path / "mirrored.npz")
    process = processes.fork(
        train_worker.train, config.to_dict(), str(workdir), "mirrored", weights, {}
    )
    process.join(DEADLINE)
    assert process.exitcode == 0
    assert np.load(weights)["replicas"] == 2
    found, expected = (outputs.saved_state(path, "best") for path in (workdir, whole))
    assert set(found) == set(expected)
    for key, value in expected.items():
        if key.startswith("decoder/"):
            np.testing.assert_allclose(found[key], value, atol=1e-5, err_msg=key)
    for row, other in zip(outputs.history(workdir), outputs.history(whole), strict=True):
        for column in ("loss", "reward", "dev_cider"):
            value = float(other[column] or -1)
            assert float(row[column] or -1) == pytest.approx(value, rel=1e-4)
