"""Image bytes to captions with a run's SavedModel, beside the records job on the same images.

    python -m imcap.benchmarks.image_bytes MODEL FOLDER COUNT

captions the first COUNT images of the data set in FOLDER and prints the figures as JSON.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile

import tensorflow as tf
from ml_collections import ConfigDict

from imcap import filesystem, runtime
from imcap.benchmarks import common, image_sets
from imcap.serving import saved_model

_BATCH = 32
_AT_LEAST = 0.85  # Of the records job's images/s.


def benchmark_image_bytes(
    encoder: ConfigDict, model: str, image_dir: str, num_images: int, repeats: int
) -> list[common.Row]:
    """Measures the exported model and the records job in turns, each in a process of its own.

    Args:
      encoder: the run's config's part.
      model: the folder of the run's exported version.
      image_dir: a folder of images.
      num_images: images of a measurement; those of the folder are repeated.
      repeats: runs of each.

    Raises:
      UserError: the folder holds no image.
    """
    with tempfile.TemporaryDirectory() as folder:
        data, count = os.path.join(folder, "data"), str(num_images)
        image_sets.link_images(image_dir, num_images, data)
        job = ("imcap", data, encoder.name, encoder.weights, count)
        measures = {
            "captions": lambda: _rate("imcap.benchmarks.image_bytes", model, data, count),
            "records": lambda: _rate("imcap.benchmarks.peers.encoding", *job),
        }
        return compare(common.measure_in_turns(measures, repeats))


def _rate(module: str, *arguments: str) -> float:
    return common.run_module(module, *arguments)["images_per_second"]


def compare(rates: dict[str, list[float]]) -> list[common.Row]:
    """Returns the rows; `rates`: images/s of each run, of `captions` and of `records`."""
    ratios = [a / b for a, b in zip(rates["captions"], rates["records"], strict=True)]
    return [
        common.Row(
            f"image bytes to captions with the SavedModel, batches of {_BATCH}",
            statistics.median(rates["captions"]), "images/s", statistics.median(ratios), _AT_LEAST,
        ),
        common.Row(
            "the records job on the same images", statistics.median(rates["records"]), "images/s"
        ),
    ]  # fmt: skip


def measure_captions(model: str, folder: str, count: int) -> dict[str, float]:
    """Captions images in batches that are read before the clock starts.

    Args:
      model: an exported version's folder.
      folder: of a data set with its images in `Images/`.
      count: how many of them are captioned.

    Returns:
      `images_per_second`, without the start-up.
    """
    caption = saved_model.load(model).signatures[saved_model.DEFAULT_SIGNATURE]
    images = os.path.join(folder, "Images")
    paths = [os.path.join(images, name) for name in sorted(os.listdir(images))[:count]]
    batches = [
        tf.constant([filesystem.read_bytes(path) for path in paths[start : start + _BATCH]])
        for start in range(0, len(paths), _BATCH)
    ]
    for batch in {len(batch): batch for batch in batches}.values():  # Each size is compiled.
        caption(image_bytes=batch)
    seconds = common.seconds(
        lambda: [caption(image_bytes=batch)["caption"].numpy() for batch in batches]
    )
    return {"images_per_second": len(paths) / seconds}


def main(model: str, folder: str, count: str) -> None:
    """Measures the export and prints its figures."""
    runtime.share_one_heap()  # As the commands that caption with an export do.
    runtime.assume_frozen_weights()
    print(json.dumps(measure_captions(model, folder, int(count))))


if __name__ == "__main__":
    main(*sys.argv[1:])
