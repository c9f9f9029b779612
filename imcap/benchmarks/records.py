"""`imcap bench records`: the records job beside the bare CNN and beside what others write.

Every variant encodes the same photos (a folder's, repeated) with the same network in a process of
its own. Rates leave out the start-up, which is stated; variants take turns, and medians count.
"""

from __future__ import annotations

import os
import statistics
import tempfile

from ml_collections import ConfigDict

from imcap.benchmarks import common
from imcap.errors import UserError
from imcap.serving.caption_files import find_images

_VARIANTS = ("limit", "imcap", "run_inference", "predict_pickle")
# imcap against each: images/s at least this many times theirs.
_TO_REACH = {"limit": 0.95, "run_inference": 2.0}
_PREDICT_TO_REACH = {"ResNet50": 3.5}
_PREDICT_TO_REACH_OTHERS = 7.0
_MEMORY_TO_REACH = 0.25
_ONE_BY_ONE = 300  # Photos for the variant that takes them one by one: its rate is steady.


def benchmark_records(
    photos: str, encoder: ConfigDict, images: int, repeats: int
) -> list[common.Row]:
    """Measures every variant.

    Args:
      photos: a folder, best of full-resolution photos.
      encoder: a config's `encoder` part; its name and weights count.
      images: photos to encode; the folder's are repeated.
      repeats: runs of each variant.

    Raises:
      UserError: the folder holds no photo.
    """
    if images < 1 or repeats < 1:
        raise UserError("--images and --repeats must be at least 1")
    with tempfile.TemporaryDirectory() as folder:
        link_photos(photos, images, os.path.join(folder, "Images"))
        found: dict[str, list[dict[str, float]]] = {name: [] for name in _VARIANTS}
        for _ in range(repeats):
            for name in _VARIANTS:
                count = min(images, _ONE_BY_ONE) if name == "predict_pickle" else images
                arguments = (name, folder, encoder.name, encoder.weights, str(count))
                found[name].append(
                    common.run_module("imcap.benchmarks.records_variants", *arguments)
                )
    return _rows(found, os.path.basename(encoder.name))


def link_photos(photos: str, count: int, folder: str) -> None:
    """Fills `folder` with `count` links to a folder's photos in turn, and captions.txt beside."""
    sources = [os.path.abspath(path) for path in find_images([photos])]
    os.makedirs(folder)
    lines = ["image,caption"]
    for index in range(count):
        source = sources[index % len(sources)]
        name = f"{index:07d}{os.path.splitext(source)[1]}"
        os.symlink(source, os.path.join(folder, name))
        lines += [f"{name},a photo with number {index} seen by person {k}" for k in range(5)]
    with open(os.path.join(os.path.dirname(folder), "captions.txt"), "w") as file:
        file.write("\n".join(lines) + "\n")


def _rows(found: dict[str, list[dict[str, float]]], encoder: str) -> list[common.Row]:
    median = {
        name: {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        for name, runs in found.items()
    }
    ours = median["imcap"]
    reach = {
        **_TO_REACH,
        "predict_pickle": _PREDICT_TO_REACH.get(encoder, _PREDICT_TO_REACH_OTHERS),
    }
    rows = [common.Row(f"{encoder}: imcap records", ours["images_per_second"], "images/s")]
    for name in reach:
        theirs = median[name]["images_per_second"]
        rows.append(common.Row(f"{encoder}: {name}", theirs, "images/s"))
        ratio = statistics.median(
            a["images_per_second"] / b["images_per_second"]
            for a, b in zip(found["imcap"], found[name], strict=True)
        )
        title = f"{encoder}: imcap against {name}"
        rows.append(common.Row(title, ratio, "times", ratio, reach[name]))
    for name, values in median.items():
        rows.append(common.Row(f"{encoder}: {name} start-up", values["startup_seconds"], "s"))
        rows.append(common.Row(f"{encoder}: {name} peak memory", values["peak_mb"], "MB"))
    memory = ours["peak_mb"] / median["run_inference"]["peak_mb"]
    title = f"{encoder}: imcap's memory against run_inference"
    rows.append(common.Row(title, memory, "times", memory, -_MEMORY_TO_REACH))
    size = ours["bytes_per_image"]
    rows.append(common.Row(f"{encoder}: imcap records", size, "bytes/image"))
    return rows
