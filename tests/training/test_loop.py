"""The loop over a training's steps: its checkpoints, scores and early stop."""

from __future__ import annotations

import landscapes
import numpy as np
import outputs

from imcap import train

STEPS_PER_EPOCH = 5


def test_a_finished_training_says_so_and_changes_nothing(tmp_path, landscape_data, caplog):
    config = landscapes.make_config(tmp_path, landscape_data, train__epochs=1)
    first = train.train_and_evaluate(config, str(tmp_path), "none").history
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with caplog.at_level("INFO", "absl"):
        again = train.train_and_evaluate(config, str(tmp_path), "none").history
    assert f"{tmp_path}: trained already, 5 steps" in caplog.messages
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
    assert again.rows == first.rows


def test_a_run_has_a_last_and_a_best_checkpoint_and_history_png(landscape_run):
    scores = [float(row["dev_cider"]) for row in outputs.history(landscape_run)]
    assert len(scores) == 12
    assert outputs.step(landscape_run, "last") == 12 * STEPS_PER_EPOCH
    assert outputs.step(landscape_run, "best") == (np.argmax(scores) + 1) * STEPS_PER_EPOCH
    assert (landscape_run / "history.png").read_bytes().startswith(b"\x89PNG")


def test_the_best_checkpoint_has_the_highest_best_metric(tmp_path, landscape_data):
    config = landscapes.make_config(
        tmp_path, landscape_data, seed=2, train__best_metric="bleu4", train__epochs=4,
        train__learning_rate=0.05,
    )  # fmt: skip
    history = train.train_and_evaluate(config, str(tmp_path), "none").history
    bleu4 = history.scores("dev_bleu4")
    assert len(bleu4) == 4
    assert outputs.step(tmp_path, "best") == (np.argmax(bleu4) + 1) * STEPS_PER_EPOCH


def test_patience_ends_a_training_for_good(tmp_path, landscape_data, caplog):
    config = landscapes.make_config(
        tmp_path, landscape_data, train__learning_rate=1e-9, train__patience=2
    )
    history = train.train_and_evaluate(config, str(tmp_path), "none").history
    assert history.scores("epoch") == [1, 2, 3]
    assert outputs.step(tmp_path, "best") == STEPS_PER_EPOCH
    with caplog.at_level("INFO", "absl"):
        again = train.train_and_evaluate(config, str(tmp_path), "none").history
    assert again.rows == history.rows
    assert f"{tmp_path}: trained already, 15 steps" in caplog.messages
