"""`imcap bench scale`: what an image costs the records job, and its memory, over ever more images.

With a folder of photos, these are repeated and go through the config's encoder; without one, tiny
images (32x32, all different) are drawn and go through imcap's own CNN, so that what is not decoding
and encoding shows.
"""

from __future__ import annotations

import csv
import os
import tempfile

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from imcap.benchmarks import common
from imcap.benchmarks.records import link_photos
from imcap.errors import UserError

_START_UP = 100  # Images of the run whose time is start-up.
_FEWEST = 1_000
_SIDE = 32
_IN_FOLDER = 10_000
_COST_TO_REACH = 1.1
_MEMORY_TO_REACH = 1.1


def benchmark_scale(photos: str, encoder: ConfigDict, images: int) -> list[common.Row]:
    """Runs the job over a hundredth, a tenth and all of `images`.

    Args:
      photos: a folder of photos; empty: tiny images.
      encoder: a config's `encoder` part; its name and weights count, with photos.
      images: the most images.

    Raises:
      UserError: too few images to compare.
    """
    counts = [count for count in (images // 100, images // 10, images) if count >= _FEWEST]
    if len(counts) < 2:
        raise UserError(f"--images must be at least {10 * _FEWEST}")
    name, weights = (encoder.name, encoder.weights) if photos else ("custom_cnn", "")
    with tempfile.TemporaryDirectory() as folder:
        if not photos:
            _draw_tiny(folder, images)
        found = {}
        for count in (_START_UP, *counts):
            data = _prepare(folder, photos, count)
            found[count] = common.run_module(
                "imcap.benchmarks.records_variants", "imcap", data, name, weights, str(count)
            )
    return _rows(os.path.basename(name), found)


def _draw_tiny(folder: str, count: int) -> None:
    """Writes PNG files of two colours that meet along a line; each has its number in a corner."""
    rng = np.random.default_rng(0)
    ramp = np.add.outer(np.arange(_SIDE), np.arange(_SIDE))[..., None] / (2 * _SIDE - 2)
    for number in range(count):
        if number % _IN_FOLDER == 0:
            os.makedirs(os.path.join(folder, "images", str(number // _IN_FOLDER)))
        first, second = rng.integers(0, 256, (2, 3))
        pixels = (first + (second - first) * (ramp > rng.random())).astype(np.uint8)
        pixels[0, 0] = [number >> 16 & 255, number >> 8 & 255, number & 255]
        Image.fromarray(pixels).save(os.path.join(folder, "images", _tiny_name(number)))


def _tiny_name(number: int) -> str:
    return f"{number // _IN_FOLDER}/{number}.png"


def _prepare(folder: str, photos: str, count: int) -> str:
    """Makes a data set of the first `count` images; returns its folder."""
    if photos:
        data = os.path.join(folder, str(count))
        link_photos(photos, count, os.path.join(data, "Images"))
        return data
    with open(os.path.join(folder, "captions.csv"), "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "caption"])
        for number in range(count):
            words = f"two colours that meet, the {number % 1000} of {number % 997}"
            writer.writerow([_tiny_name(number), words])
    return folder


def _rows(name: str, found: dict[int, dict[str, float]]) -> list[common.Row]:
    start_up = found.pop(_START_UP)["total_seconds"]
    cost = {n: 1e3 * (values["total_seconds"] - start_up) / n for n, values in found.items()}
    memory = {n: values["peak_mb"] for n, values in found.items()}
    rows = [common.Row(f"{name}: start-up", start_up, "s")]
    for values, unit, to_reach in ((cost, "ms", _COST_TO_REACH), (memory, "MB", _MEMORY_TO_REACH)):
        what = "each" if values is cost else "peak memory"
        least = values[min(values)]
        for count, value in values.items():
            compared = (value / least, -to_reach) if count > min(values) else (None, None)
            rows.append(common.Row(f"{name}: {count:,} images, {what}", value, unit, *compared))
    return rows
