"""The captioning job in a process of its own.

    python -m imcap.benchmarks.peers.caption_process FOLDER MODEL COUNT

captions the first COUNT images of the data set in FOLDER and prints the figures as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time

from imcap import runtime
from imcap.benchmarks import common


def measure_captioning(folder: str, model: str, count: int) -> dict[str, float]:
    """Measures the job as `imcap caption` runs it: `total_seconds`, without Python's imports.

    Args:
      folder: of a data set with its images in `Images/`.
      model: an exported version's folder.
      count: how many images it has.
    """
    from beam_jobs import caption_images

    start = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        out = os.path.join(temporary, "captions.jsonl")
        images = os.path.join(folder, "Images")
        summary = caption_images.caption_images([images], model, out)
        seconds = time.monotonic() - start
    if summary.captioned != count:
        raise RuntimeError(f"{summary.captioned} of {count} images were captioned")
    return {"total_seconds": seconds}


def main(folder: str, model: str, count: str) -> None:
    """Measures the job and prints its figures, `peak_mb` included."""
    runtime.share_one_heap()  # As the command does.
    runtime.assume_frozen_weights()
    figures = measure_captioning(folder, model, int(count))
    print(json.dumps({**figures, "peak_mb": common.peak_memory_mb()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
