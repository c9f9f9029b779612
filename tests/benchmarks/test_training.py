"""`imcap bench train`: its rows are of real training steps on real records."""

from __future__ import annotations

import landscapes
import pytest
import tiny_runs
from refusals import refusal

from imcap import config as config_lib
from imcap.benchmarks import common, training


def test_training_is_compared_with_products_and_with_a_notebook(
    landscape_data, tmp_path, monkeypatch
):
    monkeypatch.setattr(common, "seconds", lambda function: (function(), 2.0)[1])
    config = landscapes.make_config(tmp_path, landscape_data)
    rows = training.benchmark_training(config, 1)
    rate, work, alone, of_words, notebook, factor, loop, checkpoint, *_ = rows  # Then PyTorch's.
    assert all(row.value > 0 for row in rows)
    assert [row.unit for row in rows[:8]] == [
        "captions/s", "GFLOP", "GFLOP/s", "GFLOP/s", "captions/s", "times", "ms", "ms"
    ]  # fmt: skip
    assert of_words.ratio == pytest.approx(of_words.value / alone.value)
    assert factor.value == pytest.approx(rate.value / notebook.value)
    assert (of_words.at_least, factor.at_least) == (0.7, 25.0)
    # Its batches repeat the 45 images, which have 108 captions.
    assert notebook.value == 3 * 32 * 108 // 45 / 2
    assert work.ratio is None
    assert loop.ratio > 0 and checkpoint.ratio is None


def test_no_repeats_are_refused():
    message = "--repeats=0: must be at least 1"
    assert refusal(training.benchmark_training, config_lib.default(), 0) == message


def test_another_objective_is_refused():
    config = tiny_runs.changed_config("train.objective", "self_critical")
    message = refusal(training.benchmark_training, config, 1)
    assert message.endswith("give --config.train.objective=cross_entropy")
