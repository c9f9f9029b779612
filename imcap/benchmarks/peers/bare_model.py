"""The SavedModel called without a server, in a process of its own: what `serving` compares with."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Sequence

from imcap import runtime

BATCH_SIZES = (8, 16, 32)
_WARM_UP_CALLS = 3
_SECONDS = 8.0  # Of calls for each size.


def measure_bare(model_dir: str, images: Sequence[bytes]) -> dict[str, float]:
    """Calls a model with single images and with batches.

    Returns:
      `best_images_per_second` over BATCH_SIZES, and `single_ms`, the median of one image's call.
    """
    from imcap.serving.captioner import Captioner

    model = Captioner(model_dir, batch_size=max(BATCH_SIZES))
    rates = [size / statistics.median(_times(model.caption, images, size)) for size in BATCH_SIZES]
    single = statistics.median(_times(model.caption, images, 1))
    return {"best_images_per_second": max(rates), "single_ms": 1000 * single}


def _times(call, images: Sequence[bytes], size: int) -> list[float]:  # type: ignore[no-untyped-def]
    times: list[float] = []
    calls = 0
    end = None
    while end is None or time.monotonic() < end or len(times) < 2:
        batch = [images[(calls * size + index) % len(images)] for index in range(size)]
        began = time.monotonic()
        call(batch)
        calls += 1
        if calls > _WARM_UP_CALLS:
            times.append(time.monotonic() - began)
            end = end or time.monotonic() + _SECONDS
    return times


def main(model_dir: str, is_frozen: str, *paths: str) -> None:
    """Prints the figures as JSON.

    Args:
      model_dir: what `Captioner` takes.
      is_frozen: `frozen` or `plain`: whether convolutions may cache their weights.
      *paths: images.
    """
    if is_frozen == "frozen":
        runtime.assume_frozen_weights()
    images = []
    for path in paths:
        with open(path, "rb") as file:
            images.append(file.read())
    print(json.dumps(measure_bare(model_dir, images)))


if __name__ == "__main__":
    main(*sys.argv[1:])
