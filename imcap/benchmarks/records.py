"""`imcap bench records`: the records job beside the network alone and other ways to do the same.

Each encodes the same images with the same network in a process of its own. Rates do not include
the start-up, which is a row of its own. The processes take turns, and rows are medians.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Mapping, Sequence

from imcap.benchmarks import common, image_sets
from imcap.errors import UserError

CONTENDERS = ("limit", "imcap", "run_inference", "predict_pickle")  # As in peers.encoding.
# imcap's images/s divided by the peer's has to be at least this.
_AT_LEAST = {"limit": 0.95, "run_inference": 2.0}
_PREDICT_AT_LEAST = {"ResNet50": 3.5}
_PREDICT_AT_LEAST_OTHERS = 7.0
_MEMORY_AT_MOST = 0.25
_MAX_PREDICT_IMAGES = 300  # `model.predict` image by image is slow, and its rate is steady.


def benchmark_records(
    image_dir: str, encoder_name: str, weights: str, num_images: int, repeats: int
) -> list[common.Row]:
    """Measures the records job and its peers.

    Args:
      image_dir: a folder of images, preferably of full resolution.
      encoder_name: `config.encoder.name`.
      weights: `config.encoder.weights`.
      num_images: images to encode; those of the folder are repeated.
      repeats: runs of each.

    Raises:
      UserError: the folder holds no image, or a number is below 1.
    """
    if num_images < 1 or repeats < 1:
        raise UserError("--num_images and --repeats must be at least 1")
    with tempfile.TemporaryDirectory() as folder:
        data = os.path.join(folder, "data")
        image_sets.link_images(image_dir, num_images, data)
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
        for _ in range(repeats):
            for name in CONTENDERS:
                is_slow = name == "predict_pickle"
                count = min(num_images, _MAX_PREDICT_IMAGES) if is_slow else num_images
                arguments = (name, data, encoder_name, weights, str(count))
                figures = common.run_module("imcap.benchmarks.peers.encoding", *arguments)
                runs[name].append(figures)
    return compare_peers(runs, os.path.basename(encoder_name))


def compare_peers(
    runs: Mapping[str, Sequence[Mapping[str, float]]], encoder: str
) -> list[common.Row]:
    """Returns the rows of the measured figures.

    Args:
      runs: for each of CONTENDERS, the figures of each run.
      encoder: the network's name, for the rows' names.
    """
    medians = {
        name: {key: statistics.median(run[key] for run in found) for key in found[0]}
        for name, found in runs.items()
    }
    ours = medians["imcap"]
    predict = _PREDICT_AT_LEAST.get(encoder, _PREDICT_AT_LEAST_OTHERS)
    rows = [common.Row(f"{encoder}: imcap records", ours["images_per_second"], "images/s")]
    for name, at_least in {**_AT_LEAST, "predict_pickle": predict}.items():
        rate = medians[name]["images_per_second"]
        rows.append(common.Row(f"{encoder}: {name}", rate, "images/s"))
        pairs = zip(runs["imcap"], runs[name], strict=True)
        ratio = statistics.median(a["images_per_second"] / b["images_per_second"] for a, b in pairs)
        title = f"{encoder}: imcap against {name}"
        rows.append(common.Row(title, ratio, "times", ratio, at_least))
    for name, values in medians.items():
        rows.append(common.Row(f"{encoder}: {name} start-up", values["startup_seconds"], "s"))
        rows.append(common.Row(f"{encoder}: {name} peak memory", values["peak_mb"], "MB"))
    memory = ours["peak_mb"] / medians["run_inference"]["peak_mb"]
    title = f"{encoder}: imcap's memory against run_inference"
    rows.append(common.Row(title, memory, "times", memory, at_most=_MEMORY_AT_MOST))
    size = ours["bytes_per_image"]
    rows.append(common.Row(f"{encoder}: imcap records", size, "bytes/image"))
    return rows
