"""What the benchmarks make of their measurements; the measuring itself is `imcap bench`."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from imcap import config as config_lib
from imcap.benchmarks import common, records, records_variants, scale
from imcap.errors import UserError


@pytest.fixture
def photos(tmp_path):
    """A folder of two photos."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ("a.jpg", "b.jpg"):
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)).save(folder / name)
    return folder


@pytest.mark.parametrize(
    ("ratio", "to_reach", "met"),
    [(2.0, 2.0, True), (1.9, 2.0, False), (0.2, -0.25, True), (0.3, -0.25, False),
     (None, 2.0, None), (2.0, None, None)],
)  # fmt: skip
def test_a_figure_is_met_from_above_or_where_negative_from_below(ratio, to_reach, met):
    assert common.Row("a figure", 1.0, "s", ratio, to_reach).met is met


def test_the_report_is_a_table_and_a_file_without_private_paths(tmp_path, capsys, monkeypatch):
    rows = [common.Row("ours", 3.0, "images/s", 1.5, 2.0), common.Row("theirs", 2.0, "images/s")]
    monkeypatch.setattr("sys.argv", ["imcap", "bench", "records", "--photos=/home/me/photos", "-x"])
    common.report("records", rows, str(tmp_path / "out.json"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["ours", "3.0", "images/s", "1.50", "2.00", "MISSED"]
    content = json.loads((tmp_path / "out.json").read_text())
    assert content["rows"][0]["met"] is False
    assert content["command"] == "imcap bench records --photos=photos -x"
    assert content["machine"]["cores"] >= 1


def figures(rate: float, memory: float) -> dict[str, float]:
    return {"images_per_second": rate, "peak_mb": memory, "startup_seconds": 1.0,
            "total_seconds": 2.0, "bytes_per_image": 5.0}  # fmt: skip


def test_rates_are_compared_run_by_run_and_their_median_counts():
    ours = [figures(30.0, 100), figures(40.0, 100), figures(10.0, 100)]
    theirs = [figures(10.0, 400), figures(10.0, 500), figures(10.0, 600)]
    found = dict.fromkeys(("limit", "run_inference", "predict_pickle"), theirs)
    rows = records._rows({"imcap": ours, **found}, "ResNet50")
    by_name = {row.name: row for row in rows}
    assert by_name["ResNet50: imcap against run_inference"].ratio == 3.0
    assert by_name["ResNet50: imcap's memory against run_inference"].ratio == 0.2


def test_scale_compares_with_the_fewest_images_without_the_start_up():
    times = {100: 4.0, 1_000: 6.0, 10_000: 26.0}
    found = {n: {"total_seconds": time, "peak_mb": 1000.0 + n / 100} for n, time in times.items()}
    rows = scale._rows("custom_cnn", found)
    assert [(row.value, row.unit) for row in rows] == [
        (4.0, "s"), (2.0, "ms"), (2.2, "ms"), (1010.0, "MB"), (1100.0, "MB")
    ]  # fmt: skip
    assert [row.ratio for row in rows] == [
        None, None, pytest.approx(1.1), None, pytest.approx(1100 / 1010)
    ]  # fmt: skip


def test_too_few_images_to_compare_are_refused():
    with pytest.raises(UserError, match="--images must be at least 10000"):
        scale.benchmark_scale("", config_lib.default().encoder, 9_999)


@pytest.mark.parametrize("variant", ["limit", "imcap", "run_inference", "predict_pickle"])
def test_every_variant_encodes_all_photos(photos, tmp_path, variant):
    records.link_photos(str(photos), 6, str(tmp_path / "data" / "Images"))
    config = config_lib.default()
    config.dataset.dir, config.dataset.ratios = str(tmp_path / "data"), (1.0, 0.0, 0.0)
    config.encoder.name, config.encoder.weights, config.encoder.stages = "custom_cnn", "", 1
    found = records_variants._VARIANTS[variant](config, 6)
    assert found["total_seconds"] > found["startup_seconds"] > 0


def test_tiny_images_are_all_different_and_go_through_the_job(tmp_path):
    scale._draw_tiny(str(tmp_path), 12)
    data = scale._prepare(str(tmp_path), "", 12)
    names = [path.read_bytes() for path in tmp_path.rglob("*.png")]
    assert len(set(names)) == 12
    config = config_lib.default()
    config.dataset.name, config.dataset.dir = "table", data
    config.encoder.name, config.encoder.weights, config.encoder.image_size = "custom_cnn", "", 32
    assert records_variants.imcap(config, 12)["bytes_per_image"] > 0
