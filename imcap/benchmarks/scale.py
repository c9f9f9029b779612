"""`imcap bench scale`: time per image and memory of the records job as the images become more.

With a folder of images, these are repeated and go through the config's encoder. Without one, small
images are drawn, all different, and go through imcap's own CNN, so that decoding and encoding take
little of the time. `--manifest_only` is `manifest_scale`.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping

from imcap.benchmarks import common, image_sets
from imcap.errors import UserError

START_UP_IMAGES = 100  # The time of a run with so few images is taken for the start-up.
_MIN_IMAGES = 1_000
TIME_AT_MOST = 1.1
MEMORY_AT_MOST = 1.1


def benchmark_scale(
    image_dir: str, encoder_name: str, weights: str, num_images: int
) -> list[common.Row]:
    """Runs the job with a hundredth, a tenth and all of `num_images`.

    Args:
      image_dir: a folder of images; empty: small images are drawn.
      encoder_name: `config.encoder.name`, used with `image_dir`.
      weights: `config.encoder.weights`, used with `image_dir`.
      num_images: images of the largest run.

    Raises:
      UserError: too few images to compare.
    """
    counts = sizes(num_images)
    name, weights = (encoder_name, weights) if image_dir else ("custom_cnn", "")
    runs = {}
    with tempfile.TemporaryDirectory() as folder:
        if not image_dir:
            image_sets.draw_images(folder, num_images)
        for count in (START_UP_IMAGES, *counts):
            data = _make_data_set(folder, image_dir, count)
            arguments = ("imcap", data, name, weights, str(count))
            runs[count] = common.run_module("imcap.benchmarks.peers.encoding", *arguments)
    start_up = runs.pop(START_UP_IMAGES)["total_seconds"]
    return compare_sizes(runs, start_up, os.path.basename(name))


def sizes(num_images: int, least: int = _MIN_IMAGES) -> list[int]:
    """Returns a hundredth, a tenth and all of `num_images`, those that are at least `least`.

    Raises:
      UserError: too few images to compare.
    """
    counts = [n for n in (num_images // 100, num_images // 10, num_images) if n >= least]
    if len(counts) < 2:
        raise UserError(
            f"--num_images={num_images}: imcap bench scale needs at least {10 * least}, "
            "as it compares with a tenth of them"
        )
    return counts


def _make_data_set(folder: str, image_dir: str, count: int) -> str:
    """Makes a data set of `count` images and returns its folder."""
    if not image_dir:
        image_sets.write_drawn_table(folder, count)
        return folder
    data = os.path.join(folder, str(count))
    image_sets.link_images(image_dir, count, data)
    return data


def compare_sizes(
    runs: Mapping[int, Mapping[str, float]], start_up: float, encoder: str
) -> list[common.Row]:
    """Returns the rows of the measured figures, each compared with the smallest run.

    Args:
      runs: number of images -> figures.
      start_up: seconds that do not count as time per image.
      encoder: the network's name, for the rows' names.
    """
    time = {n: 1e3 * (run["total_seconds"] - start_up) / n for n, run in runs.items()}
    memory = {n: run["peak_mb"] for n, run in runs.items()}
    smallest = min(runs)
    rows = [common.Row(f"{encoder}: start-up", start_up, "s")]
    for values, title, unit, at_most in (
        (time, "each", "ms", TIME_AT_MOST),
        (memory, "peak memory", "MB", MEMORY_AT_MOST),
    ):
        for count, value in values.items():
            name = f"{encoder}: {count:,} images, {title}"
            if count == smallest:
                rows.append(common.Row(name, value, unit))
            else:
                ratio = value / values[smallest]
                rows.append(common.Row(name, value, unit, ratio, at_most=at_most))
    return rows
