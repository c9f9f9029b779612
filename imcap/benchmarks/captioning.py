"""`imcap bench caption`: the captioning job beside the records job, on the same images.

Both decode and encode them with the same network; the captioning job then searches captions. Each
has a process of its own; the processes take turns, and rows are medians. A job works on several
batches at once, so that its first results come late and then many together: a rate is that of the
images by which a run is larger than one of few images, in the time by which it is longer.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Mapping, Sequence

from imcap.benchmarks import common, image_sets
from imcap.errors import UserError
from imcap.serving import saved_model

JOBS = ("records", "caption")
FEW_IMAGES = 128
_AT_LEAST = 0.9  # The captioning job's images/s divided by the records job's.


def benchmark_captioning(
    image_dir: str, workdir: str, encoder_name: str, weights: str, num_images: int, repeats: int
) -> list[common.Row]:
    """Measures both jobs.

    Args:
      image_dir: a folder of images.
      workdir: the folder of a run with an export.
      encoder_name: the run's `config.encoder.name`.
      weights: its `config.encoder.weights`.
      num_images: images of the larger runs; those of the folder are repeated.
      repeats: runs of each job and size.

    Raises:
      UserError: there is no image or no exported model, or a number is too small.
    """
    if num_images <= FEW_IMAGES or repeats < 1:
        raise UserError(f"--num_images must be above {FEW_IMAGES}, and --repeats at least 1")
    if not workdir:
        raise UserError("imcap bench caption needs --workdir=DIR of a run with an export")
    model, encoder = saved_model.find_model(workdir), (encoder_name, weights)
    runs: dict[str, list[dict[str, float]]] = {job: [] for job in JOBS}
    with tempfile.TemporaryDirectory() as folder:
        for count in (FEW_IMAGES, num_images):
            image_sets.link_images(image_dir, count, os.path.join(folder, str(count)))
        for _ in range(repeats):
            for job in JOBS:
                few, many = (
                    _run(job, os.path.join(folder, str(count)), count, encoder, model)
                    for count in (FEW_IMAGES, num_images)
                )
                runs[job].append(further_images(few, many, num_images - FEW_IMAGES))
    return compare_jobs(runs, os.path.basename(encoder_name))


def _run(job: str, data: str, count: int, encoder: tuple[str, str], model: str) -> dict[str, float]:
    """Returns the figures of one of JOBS on the `count` images of a data set."""
    if job == "records":
        given = ("imcap", data, *encoder, str(count))
        return common.run_module("imcap.benchmarks.peers.encoding", *given)
    return common.run_module("imcap.benchmarks.peers.caption_process", data, model, str(count))


def further_images(
    few: Mapping[str, float], many: Mapping[str, float], num_images: int
) -> dict[str, float]:
    """Returns the figures of two runs, the second of which has `num_images` more."""
    seconds = many["total_seconds"] - few["total_seconds"]
    return {
        "images_per_second": num_images / seconds,
        "few_seconds": few["total_seconds"],
        "peak_mb": many["peak_mb"],
    }


def compare_jobs(
    runs: Mapping[str, Sequence[Mapping[str, float]]], encoder: str
) -> list[common.Row]:
    """Returns the rows of the measured figures.

    Args:
      runs: for each of JOBS, what `further_images` returns of each pair of runs.
      encoder: the network's name, for the rows' names.
    """
    rows = []
    for job in JOBS:
        for key, title, unit in (
            ("images_per_second", "", "images/s"),
            ("few_seconds", f", start-up and {FEW_IMAGES} images", "s"),
            ("peak_mb", ", peak memory", "MB"),
        ):
            value = statistics.median(run[key] for run in runs[job])
            rows.append(common.Row(f"{encoder}: imcap {job}{title}", value, unit))
    pairs = zip(runs["caption"], runs["records"], strict=True)
    ratio = statistics.median(a["images_per_second"] / b["images_per_second"] for a, b in pairs)
    title = f"{encoder}: imcap caption against imcap records"
    return [*rows, common.Row(title, ratio, "times", ratio, _AT_LEAST)]
