"""Captions from image bytes beside the records job."""

from __future__ import annotations

import numpy as np
from PIL import Image
from refusals import refusal

from imcap import benchmarks
from imcap import config as config_lib
from imcap.benchmarks import image_bytes, image_sets


def test_the_ratio_is_the_median_of_the_pairs():
    captions, job = image_bytes.compare({"captions": [9.0, 20, 32], "records": [10.0, 40, 40]})
    assert (captions.value, captions.unit, captions.ratio) == (20, "images/s", 0.8)
    assert (captions.at_least, captions.met) == (0.85, False)
    assert (job.value, job.ratio) == (40, None)


def test_the_export_captions_all_images(landscape_export, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    Image.fromarray(pixels).save(source / "a.jpg")
    image_sets.link_images(str(source), 35, str(tmp_path / "data"))
    figures = image_bytes.measure_captions(str(landscape_export), str(tmp_path / "data"), 35)
    assert figures["images_per_second"] > 0


def test_images_without_a_run_are_refused(tmp_path):
    found = refusal(benchmarks.measure, "decode", config_lib.default(), image_dir=str(tmp_path))
    assert found == "imcap bench decode with --image_dir needs --workdir=DIR"


def test_a_run_without_an_export_is_refused_before_anything_is_measured(tmp_path):
    given = {"image_dir": str(tmp_path), "workdir": str(tmp_path)}
    found = refusal(benchmarks.measure, "decode", config_lib.default(), **given)
    assert found.startswith(f"{tmp_path}: no exported model in it")
