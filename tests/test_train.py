"""Training: any strategy, any interruption, the same weights."""

from __future__ import annotations

import csv
import glob
import os
import shutil
import signal
import socket
import time
from pathlib import Path

import landscapes
import numpy as np
import processes
import pytest
import tensorflow as tf
import train_worker
from ml_collections import ConfigDict
from tensorboard.backend.event_processing import event_accumulator

from imcap import checkpoints, decode, input_pipeline, records, text, train
from imcap.errors import UserError

STEPS_PER_EPOCH = 5
DEADLINE = 180  # Seconds until a process counts as stuck.


def make_trainer(config: ConfigDict, workdir: Path) -> train.Trainer:
    info = records.read_info(config.records.dir)
    return train.Trainer(config, str(workdir), info, tf.distribute.get_strategy())


def first_batch(config: ConfigDict) -> dict[str, tf.Tensor]:
    """Training photos with all their captions, always the same ones."""
    info = records.read_info(config.records.dir)
    batches = input_pipeline.eval_dataset(config.records.dir, info, "train", batch_size=9)
    batch = next(iter(batches))
    return {key: batch[key] for key in ("image_id", "features", "tokens")}


def rows_of(workdir: Path) -> list[dict[str, str]]:
    with open(workdir / "history.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def last_step(workdir: Path, name: str = "last") -> int:
    """The step of a run's newest checkpoint, 0 where there is none."""
    path = tf.train.latest_checkpoint(str(workdir / checkpoints.FOLDER / name))
    return int(path.rsplit("-", 1)[1]) if path else 0


def saved_state(workdir: Path, name: str) -> dict[str, np.ndarray]:
    """All that a checkpoint holds, by name."""
    path = tf.train.latest_checkpoint(str(workdir / checkpoints.FOLDER / name))
    reader = tf.train.load_checkpoint(path)
    # How often was saved depends on the clock.
    skipped = ("_CHECKPOINTABLE_OBJECT_GRAPH", "save_counter/.ATTRIBUTES/VARIABLE_VALUE")
    names = set(reader.get_variable_to_shape_map()) - set(skipped)
    return {name: reader.get_tensor(name) for name in names}


# --- one step -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["attention", "inject"])
def test_a_fixed_batch_is_learnt_by_heart(tmp_path, landscape_data, kind):
    config = landscapes.make_config(
        tmp_path, landscape_data, model__decoder=kind, train__warmup=0.0, train__epochs=40,
        train__learning_rate=5e-2, decode__beam_size=1,
    )  # fmt: skip
    trainer, batch = make_trainer(config, tmp_path), first_batch(config)
    batch["tokens"] = batch["tokens"][:, :1]
    train_step, _ = trainer.compile(0)
    losses = [float(train_step(batch)) for _ in range(200)]
    assert losses[0] == pytest.approx(np.log(trainer.tokenizer.size), abs=0.1)
    assert losses[19] < 0.9 * losses[0]
    assert losses[-1] < 0.05
    assert trainer.step.numpy() == 200
    found = decode.search(trainer.decoder, batch["features"], config.decode).tokens[:, 0]
    said = trainer.tokenizer.detokenize(found.numpy())
    assert said == trainer.tokenizer.detokenize(batch["tokens"][:, 0, 1:].numpy())
    assert len(set(said)) > 1


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_the_loss_is_the_cross_entropy_with_smoothed_words(tmp_path, landscape_data, smoothing):
    config = landscapes.make_config(
        tmp_path, landscape_data, train__label_smoothing=smoothing, train__learning_rate=1e-9
    )
    trainer, batch = make_trainer(config, tmp_path), first_batch(config)
    for weight in trainer.decoder.weights:
        weight.assign(weight + 0.2)
    hidden = trainer.decoder.hidden(
        batch["features"], batch["tokens"][..., :-1], train.Dropout(None)
    )
    logits = trainer.decoder.logits(hidden).numpy().astype(np.float64)
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    words = batch["tokens"].numpy()[..., 1:]
    wanted = np.eye(logits.shape[-1])[words]
    smooth = (1 - smoothing) * wanted + smoothing / logits.shape[-1]
    is_word = words != text.PAD
    assert 0 < is_word.sum() < is_word.size
    losses, entropies = trainer._losses(batch["features"], batch["tokens"], train.Dropout(None))
    np.testing.assert_allclose(losses, -(smooth * logs).sum(-1)[is_word], rtol=1e-5)
    np.testing.assert_allclose(entropies, -(wanted * logs).sum(-1)[is_word], rtol=1e-5)
    # What is shown while training is the mean over the words, without smoothing.
    train_step, _ = trainer.compile(0)
    assert float(train_step(batch)) == pytest.approx(np.mean(entropies), rel=1e-5)
    captions = (batch["tokens"].numpy()[..., 0] != text.PAD).sum()
    expected = [np.sum(entropies), is_word.sum(), captions]
    np.testing.assert_allclose(trainer.sums, expected, rtol=1e-5)


def test_dropout_draws_other_masks_at_each_step(tmp_path, landscape_data):
    def losses(rate: float) -> list[float]:
        config = landscapes.make_config(
            tmp_path, landscape_data, model__dropout=rate, train__learning_rate=1e-12
        )
        trainer, batch = make_trainer(config, tmp_path), first_batch(config)
        for weight in trainer.decoder.weights:
            weight.assign(weight * 3)
        train_step, _ = trainer.compile(0)
        return [float(train_step(batch)) for _ in range(3)]

    assert len(set(losses(0.5))) == 3
    assert len(set(losses(0.0))) == 1


def test_the_learning_rate_rises_and_falls_to_zero():
    config = landscapes.make_config(Path("run"), Path("data")).train
    optimizer = train.build_optimizer(config, total_steps=100)
    rates = []
    for step in (0, 5, 10, 55, 100):
        optimizer.iterations.assign(step)
        rates.append(float(optimizer.learning_rate))
    peak = config.learning_rate
    np.testing.assert_allclose(rates, [0, peak / 2, peak, peak / 2, 0], atol=1e-8)


# --- every strategy -----------------------------------------------------------------------------


def train_elsewhere(config: ConfigDict, folder: Path, name: str, distribute: str, cluster=None):
    """Starts a training in a process of its own; its weights will be in `folder/NAME.npz`."""
    weights = str(folder / f"{name}.npz")
    return processes.fork(
        train_worker.train, config.to_dict(), str(folder / distribute), distribute, weights,
        cluster or {},
    )  # fmt: skip


def cluster_of_two() -> list[dict]:
    """Two TF_CONFIGs of workers on this machine, on ports that are free."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    hosts = [f"127.0.0.1:{s.getsockname()[1]}" for s in sockets]
    for s in sockets:
        s.close()
    return [
        {"cluster": {"worker": hosts}, "task": {"type": "worker", "index": index}}
        for index in range(2)
    ]


@pytest.fixture(scope="module")
def distributed(landscape_data, tmp_path_factory):
    """A folder with the runs and weights of all strategies, on the same records, 30 steps each.

    9 photos a batch do not split evenly, so one replica has more words than the other; gradients
    are clipped, smoothing is on; dev scores come after every third epoch only.
    """
    folder = tmp_path_factory.mktemp("distributed")
    config = landscapes.make_config(
        folder, landscape_data, train__epochs=6, train__eval_every=3, train__learning_rate=1e-2,
        train__clip_norm=0.2, train__label_smoothing=0.1, train__weight_decay=0.01,
    )  # fmt: skip
    workers = cluster_of_two()
    running = [
        train_elsewhere(config, folder, "mirrored", "mirrored"),
        train_elsewhere(config, folder, "worker0", "multiworker", workers[0]),
        train_elsewhere(config, folder, "worker1", "multiworker", workers[1]),
    ]
    train_worker.train(config.to_dict(), str(folder / "none"), "none", str(folder / "none.npz"), {})
    for process in running:
        process.join(DEADLINE)
        process.kill()
    assert [process.exitcode for process in running] == [0, 0, 0]
    return folder


@pytest.mark.parametrize("name", ["mirrored", "worker0", "worker1"])
def test_every_strategy_trains_the_same_weights(distributed, name):
    alone, found = np.load(distributed / "none.npz"), np.load(distributed / f"{name}.npz")
    assert (alone["replicas"], found["replicas"]) == (1, 2)
    assert set(found) == set(alone)
    for key in set(alone) - {"replicas"}:
        np.testing.assert_allclose(found[key], alone[key], atol=1e-5, err_msg=key)


@pytest.mark.parametrize("name", ["mirrored", "multiworker"])
def test_every_strategy_writes_the_same_history_once(distributed, name):
    alone, found = rows_of(distributed / "none"), rows_of(distributed / name)
    assert [row["step"] for row in found] == ["5", "10", "15", "20", "25", "30"]
    assert [bool(row["dev_cider"]) for row in found] == [False, False, True] * 2
    for row, expected in zip(found, alone, strict=True):
        for column in ("loss", "learning_rate", "dev_loss", "dev_cider"):
            assert float(row[column] or -1) == pytest.approx(float(expected[column] or -1), 1e-4)
    assert last_step(distributed / name) == 30


# --- interruptions ------------------------------------------------------------------------------


def kill_behind(config: ConfigDict, folder: Path, step: int, delay: float) -> int:
    """Trains until there is a checkpoint of `step` or later, kills the process some seconds
    after it, and returns the step it leaves behind."""
    workdir = folder / "none"
    process = train_elsewhere(config, folder, "killed", "none")
    until = time.monotonic() + DEADLINE
    while last_step(workdir) < step and process.is_alive() and time.monotonic() < until:
        time.sleep(0.001)
    time.sleep(delay)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    return last_step(workdir)


def test_a_training_killed_again_and_again_ends_with_the_very_same_weights(
    tmp_path, landscape_data
):
    changes = {"train__epochs": 8, "train__eval_every": 2, "train__checkpoint_minutes": 1e-6}
    dropout = dict.fromkeys(("dropout", "embedding_dropout", "feature_dropout"), 0.3)
    changes |= {f"model__{key}": rate for key, rate in dropout.items()}
    config = landscapes.make_config(tmp_path, landscape_data, **changes)
    rng = np.random.default_rng(20)
    stops = [
        kill_behind(config, tmp_path, step, rng.uniform(0, 0.05))
        for step in np.sort(rng.integers(1, 30, 3)).tolist()
    ]
    assert 0 < stops[0] < stops[-1] < 8 * STEPS_PER_EPOCH
    assert any(step % STEPS_PER_EPOCH for step in stops)
    train.run(config, str(tmp_path / "none"), "none")
    train.run(config, str(tmp_path / "whole"), "none")
    for name in ("last", "best"):
        found, expected = (saved_state(tmp_path / run, name) for run in ("none", "whole"))
        assert set(found) == set(expected)
        assert len(found) > 10
        for key, value in expected.items():
            np.testing.assert_array_equal(found[key], value, err_msg=key)
    rows = [rows_of(tmp_path / run) for run in ("none", "whole")]
    for row in (*rows[0], *rows[1]):
        assert float(row.pop("captions_per_second")) > 0
    assert rows[0] == rows[1]
    assert len(rows[0]) == 8


def test_a_finished_training_says_so_and_changes_nothing(tmp_path, landscape_data, capsys):
    config = landscapes.make_config(tmp_path, landscape_data, train__epochs=1)
    first = train.run(config, str(tmp_path), "none")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    capsys.readouterr()
    again = train.run(config, str(tmp_path), "none")
    assert f"{tmp_path}: trained already, 5 steps" in capsys.readouterr().out
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
    assert again.rows == first.rows


# --- checkpoints, scores and early stop ---------------------------------------------------------


def test_there_are_a_last_checkpoint_and_a_best_one_and_a_picture(landscape_run):
    scores = [float(row["dev_cider"]) for row in rows_of(landscape_run)]
    assert len(scores) == 12
    assert last_step(landscape_run, "last") == 12 * STEPS_PER_EPOCH
    assert last_step(landscape_run, "best") == (np.argmax(scores) + 1) * STEPS_PER_EPOCH
    assert (landscape_run / "history.png").read_bytes().startswith(b"\x89PNG")


def test_the_best_checkpoint_is_the_first_with_the_highest_score_of_the_asked_kind(
    tmp_path, landscape_data
):
    config = landscapes.make_config(
        tmp_path, landscape_data, seed=2, train__best_metric="bleu4", train__epochs=4,
        train__learning_rate=0.05,
    )  # fmt: skip
    history = train.run(config, str(tmp_path), "none")
    bleu4 = history.scores("dev_bleu4")
    assert len(bleu4) == 4
    assert last_step(tmp_path, "best") == (np.argmax(bleu4) + 1) * STEPS_PER_EPOCH


def test_patience_ends_a_training_that_no_longer_improves_and_it_stays_ended(
    tmp_path, landscape_data, capsys
):
    config = landscapes.make_config(
        tmp_path, landscape_data, train__learning_rate=1e-9, train__patience=2
    )
    history = train.run(config, str(tmp_path), "none")
    assert history.scores("epoch") == [1, 2, 3]
    assert last_step(tmp_path, "best") == STEPS_PER_EPOCH
    capsys.readouterr()
    assert train.run(config, str(tmp_path), "none").rows == history.rows
    assert "trained already, 15 steps" in capsys.readouterr().out


def test_tensorboard_gets_the_dev_scores_and_sample_captions(landscape_run):
    (path,) = glob.glob(str(landscape_run / "logs" / "events.out.tfevents.*"))
    events = event_accumulator.EventAccumulator(path, {"tensors": 0}).Reload()
    values = {
        tag: {event.step: tf.make_ndarray(event.tensor_proto) for event in events.Tensors(tag)}
        for tag in events.Tags()["tensors"]
    }
    rows = rows_of(landscape_run)
    for tag, column in (("dev/cider", "dev_cider"), ("dev/bleu4", "dev_bleu4"), ("loss", "loss")):
        assert list(values[tag]) == [int(row["step"]) for row in rows]
        expected = [float(row[column]) for row in rows]
        np.testing.assert_allclose(list(values[tag].values()), expected, rtol=1e-5, atol=1e-9)
    samples = values["dev/captions"][60].item().decode()
    assert len(samples.split("\n\n")) == 4
    assert "-0.jpg: " in samples


# --- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{"model__units": 8}, {"model__decoder": "inject"}])
def test_a_checkpoint_of_another_model_is_refused_in_one_line(
    landscape_run, landscape_data, changes
):
    config = landscapes.make_config(landscape_run, landscape_data, **changes)
    with pytest.raises(UserError, match=r"is of another model or vocabulary") as caught:
        train.run(config, str(landscape_run), "none")
    assert str(caught.value).startswith(str(landscape_run / "checkpoints" / "last" / "last-60"))
    assert "\n" not in str(caught.value)


def test_an_unknown_strategy_is_refused(tmp_path, landscape_data):
    config = landscapes.make_config(tmp_path, landscape_data)
    with pytest.raises(UserError, match="--distribute=all"):
        train.run(config, str(tmp_path), "all")


def test_records_that_are_not_finished_are_refused(tmp_path):
    config = landscapes.make_config(tmp_path, tmp_path)
    with pytest.raises(UserError, match=f"{tmp_path}/records holds no finished records"):
        train.run(config, str(tmp_path), "none")


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def cut_off(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("harm", [flip_a_byte, cut_off, os.remove])
def test_a_damaged_shard_is_named(tmp_path, landscape_data, harm):
    folder = tmp_path / "records"
    shutil.copytree(landscape_data / "records", folder)
    path = folder / "train-00001-of-00002.tfrecord"
    harm(path)
    config = landscapes.make_config(tmp_path, landscape_data, records__dir=str(folder))
    with pytest.raises(UserError, match=f"^{path} is damaged .*: delete it and run `imcap records"):
        train.run(config, str(tmp_path), "none")
