"""Calls of the SavedModel without a server."""

from __future__ import annotations

import grey_model

from imcap.benchmarks.peers import bare_model


def test_a_model_is_called_with_single_images_and_with_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(bare_model, "_SECONDS", 0.0)
    monkeypatch.setattr(bare_model, "BATCH_SIZES", (2, 4))
    model = grey_model.export(tmp_path / "1")
    figures = bare_model.measure_bare(model, [grey_model.png(level) for level in range(3)])
    assert figures.keys() == {"best_images_per_second", "single_ms"}
    assert all(value > 0 for value in figures.values())
