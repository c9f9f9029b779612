"""Training: one step, the checkpoints and scores of a run, and bad input."""

from __future__ import annotations

import glob
import os
import shutil
from pathlib import Path

import landscapes
import numpy as np
import outputs
import pytest
import tensorflow as tf
from ml_collections import ConfigDict
from tensorboard.backend.event_processing import event_accumulator

from imcap import input_pipeline, records, text, train
from imcap.decoding import beam_search
from imcap.errors import UserError

STEPS_PER_EPOCH = 5


def make_trainer(config: ConfigDict, workdir: Path) -> train.Trainer:
    info = records.read_info(config.records.dir)
    return train.Trainer(config, str(workdir), info, tf.distribute.get_strategy())


def first_batch(config: ConfigDict) -> dict[str, tf.Tensor]:
    """Training photos with all their captions, always the same ones."""
    info = records.read_info(config.records.dir)
    batches = input_pipeline.eval_dataset(config.records.dir, info, "train", batch_size=9)
    batch = next(iter(batches))
    return {key: batch[key] for key in ("image_id", "features", "tokens")}


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
    found = beam_search.search(trainer.decoder, batch["features"], config.decode).tokens[:, 0]
    said = trainer.tokenizer.decode(found.numpy())
    assert said == trainer.tokenizer.decode(batch["tokens"][:, 0, 1:].numpy())
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


# --- checkpoints, scores and early stop ---------------------------------------------------------


def test_a_finished_training_says_so_and_changes_nothing(tmp_path, landscape_data, capsys):
    config = landscapes.make_config(tmp_path, landscape_data, train__epochs=1)
    first = train.train_and_evaluate(config, str(tmp_path), "none")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    capsys.readouterr()
    again = train.train_and_evaluate(config, str(tmp_path), "none")
    assert f"{tmp_path}: trained already, 5 steps" in capsys.readouterr().out
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
    assert again.rows == first.rows


def test_there_are_a_last_checkpoint_and_a_best_one_and_a_picture(landscape_run):
    scores = [float(row["dev_cider"]) for row in outputs.history(landscape_run)]
    assert len(scores) == 12
    assert outputs.step(landscape_run, "last") == 12 * STEPS_PER_EPOCH
    assert outputs.step(landscape_run, "best") == (np.argmax(scores) + 1) * STEPS_PER_EPOCH
    assert (landscape_run / "history.png").read_bytes().startswith(b"\x89PNG")


def test_the_best_checkpoint_is_the_first_with_the_highest_score_of_the_asked_kind(
    tmp_path, landscape_data
):
    config = landscapes.make_config(
        tmp_path, landscape_data, seed=2, train__best_metric="bleu4", train__epochs=4,
        train__learning_rate=0.05,
    )  # fmt: skip
    history = train.train_and_evaluate(config, str(tmp_path), "none")
    bleu4 = history.scores("dev_bleu4")
    assert len(bleu4) == 4
    assert outputs.step(tmp_path, "best") == (np.argmax(bleu4) + 1) * STEPS_PER_EPOCH


def test_patience_ends_a_training_that_no_longer_improves_and_it_stays_ended(
    tmp_path, landscape_data, capsys
):
    config = landscapes.make_config(
        tmp_path, landscape_data, train__learning_rate=1e-9, train__patience=2
    )
    history = train.train_and_evaluate(config, str(tmp_path), "none")
    assert history.scores("epoch") == [1, 2, 3]
    assert outputs.step(tmp_path, "best") == STEPS_PER_EPOCH
    capsys.readouterr()
    assert train.train_and_evaluate(config, str(tmp_path), "none").rows == history.rows
    assert "trained already, 15 steps" in capsys.readouterr().out


def test_tensorboard_gets_the_dev_scores_and_sample_captions(landscape_run):
    (path,) = glob.glob(str(landscape_run / "logs" / "events.out.tfevents.*"))
    events = event_accumulator.EventAccumulator(path, {"tensors": 0}).Reload()
    values = {
        tag: {event.step: tf.make_ndarray(event.tensor_proto) for event in events.Tensors(tag)}
        for tag in events.Tags()["tensors"]
    }
    rows = outputs.history(landscape_run)
    for tag, column in (("dev/cider", "dev_cider"), ("dev/bleu4", "dev_bleu4"), ("loss", "loss")):
        assert list(values[tag]) == [int(row["step"]) for row in rows]
        expected = [float(row[column]) for row in rows]
        np.testing.assert_allclose(list(values[tag].values()), expected, rtol=1e-5, atol=1e-9)
    samples = values["dev/captions"][60].item().decode()
    assert len(samples.split("\n\n")) == 4
    assert ".jpg: " in samples


# --- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{"model__units": 8}, {"model__decoder": "inject"}])
def test_a_checkpoint_of_another_model_is_refused_in_one_line(
    landscape_run, landscape_data, changes
):
    config = landscapes.make_config(landscape_run, landscape_data, **changes)
    with pytest.raises(UserError, match=r"is of another model or vocabulary") as caught:
        train.train_and_evaluate(config, str(landscape_run), "none")
    assert str(caught.value).startswith(str(landscape_run / "checkpoints" / "last" / "last-60"))
    assert "\n" not in str(caught.value)


def test_an_unknown_strategy_is_refused(tmp_path, landscape_data):
    config = landscapes.make_config(tmp_path, landscape_data)
    with pytest.raises(UserError, match="--distribute=all"):
        train.train_and_evaluate(config, str(tmp_path), "all")


def test_records_that_are_not_finished_are_refused(tmp_path):
    config = landscapes.make_config(tmp_path, tmp_path)
    with pytest.raises(UserError, match=f"{tmp_path}/records holds no finished records"):
        train.train_and_evaluate(config, str(tmp_path), "none")


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
    with pytest.raises(UserError, match=f"^{path} is corrupted .*: delete it and run `"):
        train.train_and_evaluate(config, str(tmp_path), "none")
