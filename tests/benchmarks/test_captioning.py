"""`imcap bench caption`: its rows, and that the captioning job is measured."""

from __future__ import annotations

import landscapes
import pytest
from refusals import refusal

from imcap.benchmarks import captioning, image_sets
from imcap.benchmarks.peers import caption_process


def figures(few: float, many: float, memory: float) -> dict[str, float]:
    found = {"total_seconds": few, "peak_mb": 1.0}, {"total_seconds": many, "peak_mb": memory}
    return captioning.further_images(*found, 120)


def test_rates_are_of_the_further_images_and_the_ratio_is_a_median():
    runs = {
        "records": [figures(3.0, 6.0, 900), figures(3.0, 9.0, 800), figures(5.0, 9.0, 700)],
        "caption": [figures(4.0, 7.0, 500), figures(4.0, 16.0, 600), figures(6.0, 11.0, 400)],
    }
    rows = {row.name: row for row in captioning.compare_jobs(runs, "ResNet50")}
    assert rows["ResNet50: imcap records"].value == 30.0
    assert rows["ResNet50: imcap caption"].value == 24.0
    assert rows["ResNet50: imcap caption, peak memory"].value == 500
    row = rows["ResNet50: imcap caption against imcap records"]
    assert row.ratio == pytest.approx(0.8) and not row.met


def test_the_job_is_measured(landscape_export, tmp_path):
    (tmp_path / "source").mkdir()
    landscapes.draw(0).save(tmp_path / "source" / "a.jpg")
    image_sets.link_images(str(tmp_path / "source"), 9, str(tmp_path / "data"))
    found = caption_process.measure_captioning(str(tmp_path / "data"), str(landscape_export), 9)
    assert found["total_seconds"] > 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"num_images": 128}, "--num_images must be above 128, and --repeats at least 1"),
        ({"repeats": 0}, "--num_images must be above 128, and --repeats at least 1"),
        ({"workdir": ""}, "imcap bench caption needs --workdir=DIR of a run with an export"),
        ({"workdir": "gone"}, "gone: no such folder"),
    ],
)
def test_a_mistake_is_refused(tmp_path, given, message):
    arguments = {"image_dir": str(tmp_path), "workdir": str(tmp_path), "encoder_name": "ResNet50",
                 "weights": "", "num_images": 200, "repeats": 1, **given}  # fmt: skip
    assert refusal(captioning.benchmark_captioning, **arguments).startswith(message)
