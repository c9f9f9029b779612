"""What the benchmarks compute from their measurements, and that each measurement runs."""

from __future__ import annotations

import json
import os

import landscapes
import processes
import pytest
from refusals import refusal

from imcap import config as config_lib
from imcap.benchmarks import common, input_reading, records, scale


@pytest.mark.parametrize(
    ("ratio", "at_least", "at_most", "met", "to_reach"),
    [(2.0, 2.0, None, True, 2.0), (1.9, 2.0, None, False, 2.0),
     (0.2, None, 0.25, True, -0.25), (0.3, None, 0.25, False, -0.25),
     (None, 2.0, None, None, 2.0), (2.0, None, None, None, None)],
)  # fmt: skip
def test_a_row_is_met_by_a_ratio_within_its_limit(ratio, at_least, at_most, met, to_reach):
    row = common.Row("a figure", 1.0, "s", ratio, at_least, at_most)
    assert row.met is met
    assert row.as_dict()["to_reach"] == to_reach


ROWS = [common.Row("ours", 3.0, "images/s", 1.5, 2.0), common.Row("theirs", 2.0, "images/s")]


def test_the_table_has_a_line_per_row():
    lines = common.format_table(ROWS).splitlines()
    assert lines[0].split() == ["value", "unit", "ratio", "wanted"]
    assert lines[1].split() == ["ours", "3.0", "images/s", "1.50", ">=", "2.00", "MISSED"]
    assert lines[2].split() == ["theirs", "2.0", "images/s"]


def test_the_columns_of_the_table_are_below_one_another():
    rows = [common.Row("a" * length, 3.0, "MB") for length in (1, 80)]
    header, *lines = common.format_table(rows).splitlines()
    assert {line.index("3.0") + 3 for line in lines} == {header.index("value") + 5}


def test_the_json_file_has_rows_machine_and_a_command_without_folders(tmp_path, monkeypatch):
    command = ["imcap", "bench", "records", "--image_dir=/home/me/images", "-x"]
    monkeypatch.setattr("sys.argv", command)
    common.write_json(str(tmp_path / "out.json"), "records", ROWS)
    content = json.loads((tmp_path / "out.json").read_text())
    assert [row["met"] for row in content["rows"]] == [False, None]
    assert content["command"] == "imcap bench records --image_dir=images -x"
    assert content["machine"]["cores"] >= 1


def test_a_measuring_process_raises_a_user_error_as_its_one_line(tmp_path, monkeypatch):
    (tmp_path / "peer.py").write_text(
        "import sys\nfrom imcap.errors import UserError\nraise UserError(f'no {sys.argv[1]}')\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{processes.ROOT}{os.pathsep}{tmp_path}")
    assert refusal(common.run_module, "peer", "weights.h5") == "no weights.h5"
    (tmp_path / "peer.py").write_text("raise ValueError('a bug')")
    with pytest.raises(RuntimeError, match=r"ended with status 1:\n(.*\n)+ValueError: a bug"):
        common.run_module("peer")


def figures(rate: float, memory: float) -> dict[str, float]:
    return {"images_per_second": rate, "peak_mb": memory, "startup_seconds": 1.0,
            "total_seconds": 2.0, "bytes_per_image": 5.0}  # fmt: skip


def test_ratios_are_medians_of_the_ratios_of_each_run():
    ours = [figures(30.0, 100), figures(40.0, 100), figures(10.0, 100)]
    theirs = [figures(10.0, 400), figures(10.0, 500), figures(10.0, 600)]
    runs = {name: ours if name == "imcap" else theirs for name in records.CONTENDERS}
    rows = {row.name: row for row in records.compare_peers(runs, "ResNet50")}
    assert rows["ResNet50: imcap against run_inference"].ratio == 3.0
    assert rows["ResNet50: imcap's memory against run_inference"].ratio == 0.2


def test_scale_compares_with_the_smallest_run_without_the_start_up():
    runs = {
        1_000: {"total_seconds": 6.0, "peak_mb": 1010.0},
        10_000: {"total_seconds": 26.0, "peak_mb": 1100.0},
    }
    rows = scale.compare_sizes(runs, start_up=4.0, encoder="custom_cnn")
    assert [(row.value, row.unit) for row in rows] == [
        (4.0, "s"), (2.0, "ms"), (2.2, "ms"), (1010.0, "MB"), (1100.0, "MB")
    ]  # fmt: skip
    assert [row.ratio for row in rows] == [
        None, None, pytest.approx(1.1), None, pytest.approx(1100 / 1010)
    ]  # fmt: skip


def test_too_few_images_are_refused(tmp_path):
    message = "--num_images=9999: imcap bench scale needs at least 10000"
    assert message in refusal(scale.benchmark_scale, "", "custom_cnn", "", 9_999)
    message = "--num_images and --repeats must be at least 1"
    assert refusal(records.benchmark_records, str(tmp_path), "custom_cnn", "", 0, 1) == message


def test_no_repeats_are_refused():
    message = "--repeats=0: must be at least 1"
    assert refusal(input_reading.benchmark_input, config_lib.default(), 0) == message


def test_input_compares_reading_and_training_with_their_limits(landscape_data, tmp_path):
    config = landscapes.make_config(tmp_path, landscape_data)
    rows = input_reading.benchmark_input(config, 1, drop_caches=False)
    rates, (share, _) = rows[:-2], rows[-2:]
    assert len(rates) == 9 and all(row.value > 0 for row in rates)
    assert share.unit == "of a step" and 0 < share.value < 1
