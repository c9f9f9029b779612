"""Training in several processes: any strategy, any interruption, the same weights."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import landscapes
import numpy as np
import outputs
import processes
import pytest
import train_worker
from ml_collections import ConfigDict

from imcap import train
from imcap.training import checkpoints, epoch_checkpoints

STEPS_PER_EPOCH = 5
DEADLINE = 180  # Seconds until a process counts as stuck.


# --- every strategy -----------------------------------------------------------------------------


def start_training(config: ConfigDict, folder: Path, name: str, distribute: str, cluster=None):
    """Starts a training in another process; it writes its weights to `folder/NAME.npz`."""
    weights = str(folder / f"{name}.npz")
    return processes.fork(
        train_worker.train, config.to_dict(), str(folder / distribute), distribute, weights,
        cluster or {},
    )  # fmt: skip


@pytest.fixture(scope="module")
def distributed(landscape_data, tmp_path_factory):
    """A folder with the runs and weights of all strategies, on the same records, 20 steps each.

    9 images a batch do not split evenly, so one replica has more words than the other; gradients
    are clipped, smoothing is on; the gradients of the word vectors are those of single rows; dev
    scores come after every second epoch only.
    """
    folder = tmp_path_factory.mktemp("distributed")
    config = landscapes.make_config(
        folder, landscape_data, train__epochs=4, train__eval_every=2, train__learning_rate=1e-2,
        train__clip_norm=0.2, train__label_smoothing=0.1, train__weight_decay=0.01,
        model__tie_embeddings=False,
    )  # fmt: skip
    workers = train_worker.cluster_of_two()
    running = [
        start_training(config, folder, "mirrored", "mirrored"),
        start_training(config, folder, "worker0", "multiworker", workers[0]),
        start_training(config, folder, "worker1", "multiworker", workers[1]),
    ]
    alone = (str(folder / "none"), "none", str(folder / "none.npz"))
    try:
        train_worker.train(config.to_dict(), *alone, {})
        for process in running:
            process.join(DEADLINE)
    finally:
        for process in running:
            process.kill()
    assert [process.exitcode for process in running] == [0, 0, 0]
    return folder


@pytest.mark.parametrize("name", ["mirrored", "worker0", "worker1"])
def test_every_strategy_trains_the_same_weights(distributed, name):
    alone, found = np.load(distributed / "none.npz"), np.load(distributed / f"{name}.npz")
    assert (alone["replicas"], found["replicas"]) == (1, 2)
    assert set(found) == set(alone)
    for key in set(alone) - {"replicas", "captioned", "read"}:
        np.testing.assert_allclose(found[key], alone[key], atol=1e-5, err_msg=key)


@pytest.mark.parametrize("name", ["mirrored", "multiworker"])
def test_every_strategy_writes_the_same_history_once(distributed, name):
    alone, found = outputs.history(distributed / "none"), outputs.history(distributed / name)
    assert [row["step"] for row in found] == ["5", "10", "15", "20"]
    assert [bool(row["dev_cider"]) for row in found] == [False, True] * 2
    for row, expected in zip(found, alone, strict=True):
        for column in ("loss", "learning_rate", "dev_loss", "dev_cider"):
            assert float(row[column] or -1) == pytest.approx(float(expected[column] or -1), 1e-4)
    assert outputs.step(distributed / name) == 20


def start_two_workers(config: ConfigDict, folder: Path) -> list:
    return [
        start_training(config, folder, f"worker{index}", "multiworker", tf_config)
        for index, tf_config in enumerate(train_worker.cluster_of_two())
    ]


def test_two_workers_with_shards_of_their_own_read_every_image_once_an_epoch(
    tmp_path, landscape_data
):
    config = landscapes.make_config(
        tmp_path, landscape_data, train__epochs=2, train__eval_every=2,
        train__shard_per_worker=True,
    )  # fmt: skip
    workers = start_two_workers(config, tmp_path)
    try:
        for worker in workers:
            worker.join(DEADLINE)
    finally:
        for worker in workers:
            worker.kill()
    assert [worker.exitcode for worker in workers] == [0, 0]
    trained = [np.load(tmp_path / f"worker{index}.npz") for index in range(2)]
    for key in set(trained[0]) - {"captioned", "read"}:
        np.testing.assert_array_equal(trained[0][key], trained[1][key], err_msg=key)
    read = [json.loads(str(part["read"])) for part in trained]
    assert [len(steps) for steps in read] == [2 * STEPS_PER_EPOCH] * 2
    for epoch in (slice(0, STEPS_PER_EPOCH), slice(STEPS_PER_EPOCH, None)):
        ids = [image_id for steps in read for step in steps[epoch] for image_id in step]
        assert len(ids) == len(set(ids)) == 45
    # Each worker has the images of its own shards in both epochs.
    first, second = ({i for step in steps for i in step} for steps in read)
    assert not first & second


def test_a_stopped_worker_is_named_in_one_line_and_all_can_be_started_again(
    tmp_path, landscape_data
):
    config = landscapes.make_config(
        tmp_path, landscape_data, train__epochs=5000, train__eval_every=5000
    )
    for killed in (1, 0):  # The second time they continue.
        step = outputs.step(tmp_path / "multiworker")
        workers = start_two_workers(config, tmp_path)
        left = workers[1 - killed]
        try:
            wait_for_step(tmp_path / "multiworker", step + 1, left)
            assert outputs.step(tmp_path / "multiworker") > step
            workers[killed].kill()
            left.join(DEADLINE)
        finally:
            for worker in workers:
                worker.kill()
        assert left.exitcode == 2
        message = (tmp_path / f"worker{1 - killed}.npz.error").read_text()
        assert message.startswith("another worker has stopped or cannot be reached")
        assert "run the same command on all workers again" in message
        assert "\n" not in message


def wait_for_step(workdir: Path, step: int, process) -> None:
    """Returns when there is a checkpoint of `step` or later, or the process has ended."""
    until = time.monotonic() + DEADLINE
    while outputs.step(workdir) < step and process.is_alive() and time.monotonic() < until:
        time.sleep(0.02)


def test_each_worker_captions_a_part_of_the_dev_images(distributed):
    captioned = {
        name: np.load(distributed / f"{name}.npz")["captioned"].tolist()
        for name in ("none", "mirrored", "worker0", "worker1")
    }
    assert captioned == {"none": [9, 9], "mirrored": [9, 9], "worker0": [5, 5], "worker1": [4, 4]}


# --- interruptions ------------------------------------------------------------------------------


def kill_after(config: ConfigDict, folder: Path, step: int, delay: float) -> int:
    """Trains until there is a checkpoint of `step` or later, kills the process `delay`
    seconds after it, and returns the step of the checkpoint that is left."""
    workdir = folder / "none"
    process = start_training(config, folder, "killed", "none")
    wait_for_step(workdir, step, process)
    time.sleep(delay)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    return outputs.step(workdir)


def test_a_repeatedly_killed_training_ends_with_identical_weights(tmp_path, landscape_data):
    changes = {"train__epochs": 4, "train__eval_every": 2, "train__checkpoint_minutes": 1e-6}
    changes |= {"train__keep_checkpoints": "2"}
    dropout = dict.fromkeys(("dropout", "embedding_dropout", "feature_dropout"), 0.3)
    changes |= {f"model__{key}": rate for key, rate in dropout.items()}
    config = landscapes.make_config(tmp_path, landscape_data, **changes)
    rng = np.random.default_rng(20)
    stops = [
        kill_after(config, tmp_path, step, rng.uniform(0, 0.05))
        for step in np.sort(rng.integers(1, 14, 2)).tolist()
    ]
    assert 0 < stops[0] < stops[-1] < 4 * STEPS_PER_EPOCH
    assert any(step % STEPS_PER_EPOCH for step in stops)
    for name in ("none", "whole"):
        train.train_and_evaluate(config, str(tmp_path / name), "none")
    for name in ("last", "best", "epoch-3", "epoch-4"):
        found, expected = (outputs.saved_state(tmp_path / run, name) for run in ("none", "whole"))
        assert set(found) == set(expected)
        assert len(found) > 10
        for key, value in expected.items():
            np.testing.assert_array_equal(found[key], value, err_msg=key)
    rows = [outputs.history(tmp_path / run) for run in ("none", "whole")]
    for row in (*rows[0], *rows[1]):
        assert float(row.pop("captions_per_second")) > 0
        assert 0 <= float(row.pop("waiting_share")) <= 1
    assert rows[0] == rows[1]
    assert len(rows[0]) == 4


@pytest.mark.parametrize(
    ("function", "word", "kept"),
    [
        ("os.replace", "-epoch-3", [2]),  # The weights of epoch 3 are written, but not in place.
        ("shutil.rmtree", "/epoch-2", [3]),  # They are in place; those of epoch 2 are going.
    ],
)
def test_a_training_killed_while_it_keeps_an_epoch_continues(
    tmp_path, landscape_data, function, word, kept
):
    config = landscapes.make_config(
        tmp_path, landscape_data, train__epochs=4, train__eval_every=4, train__keep_checkpoints="1"
    )
    process = processes.fork(train_worker.die_at, function, word, config.to_dict(), str(tmp_path))
    process.join(DEADLINE)
    assert process.exitcode == -signal.SIGKILL
    assert epoch_checkpoints.kept(str(tmp_path)) == kept
    assert outputs.step(tmp_path) == 2 * STEPS_PER_EPOCH
    train.train_and_evaluate(config, str(tmp_path), "none")
    folder = tmp_path / checkpoints.FOLDER
    assert sorted(path.name for path in folder.iterdir()) == ["best", "epoch-4", "last"]
