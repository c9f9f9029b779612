"""The time and memory of what comes before the encoder, compared over sizes of tables."""

from __future__ import annotations

import pytest
from refusals import refusal

from imcap.benchmarks import image_sets, manifest_scale


def figures(total: float, cpu: float, worker: float, launcher: float) -> dict[str, float]:
    return {
        "total_seconds": total, "cpu_seconds": cpu, "worker_mb": worker, "launcher_mb": launcher
    }  # fmt: skip


def test_tables_are_compared_with_the_smallest_one_without_the_start_up():
    runs = {100_000: figures(50, 14, 900, 800), 1_000_000: figures(250, 114, 945, 890)}
    rows = {row.name: row for row in manifest_scale.compare_tables(runs, start_up=4.0)}
    each = [rows[f"manifest: {count:,} rows, each"] for count in runs]
    assert [(row.value, row.ratio) for row in each] == [(100.0, None), (110.0, pytest.approx(1.1))]
    assert rows["manifest: 1,000,000 rows, worker's memory"].ratio == pytest.approx(1.05)
    assert rows["manifest: 1,000,000 rows a second"].value == 4_000.0
    assert rows["manifest: launcher's memory for shuffles, each row"].value == pytest.approx(100.0)


def test_a_table_goes_through_what_comes_before_the_encoder(tmp_path, monkeypatch):
    monkeypatch.setattr(manifest_scale, "ONE_WORKER", ())  # Threads of this process do it.
    image_sets.write_embedded_table(str(tmp_path), 300)
    found = manifest_scale.measure_manifest(str(tmp_path), 300)
    assert all(found[key] > 0 for key in ("total_seconds", "cpu_seconds", "worker_mb"))
    image_sets.write_embedded_table(str(tmp_path), 100)
    with pytest.raises(RuntimeError, match="300 rows gave"):
        manifest_scale.measure_manifest(str(tmp_path), 300)


def test_too_few_rows_are_refused():
    message = "--num_images=999999: imcap bench scale needs at least 1000000"
    assert message in refusal(manifest_scale.benchmark_manifest, 999_999)
