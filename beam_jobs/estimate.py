"""What a records job will do before it does it: images, shards, bytes and time."""

from __future__ import annotations

import itertools
import math
import sys
import time

from ml_collections import ConfigDict

from beam_jobs.transforms import encode_shards, image_reader
from imcap import datasets, encoders, records

_RECORD_BYTES = 1_000  # What a record holds beside features, about.
_PROBE_PHOTOS = 64


def count_images(config: ConfigDict) -> dict[str, int]:
    """Counts the manifest's images by split: one pass over the rows, none over the images."""
    limit = config.records.limit or sys.maxsize
    counts = datasets.build_reader(config.dataset).count()
    return {split: min(count, limit) for split, count in counts.items()}


def record_bytes(config: ConfigDict, encoder: encoders.Encoder, split: str) -> int:
    """Returns about how many bytes a record of a split takes."""
    views = 2 if config.records.flip and split == "train" else 1
    features = math.prod(encoder.feature_shape) * records.DTYPES[config.records.dtype].itemsize
    return views * features + _RECORD_BYTES


def choose_num_shards(config: ConfigDict, encoder: encoders.Encoder, counts: dict[str, int]) -> int:
    """Returns how many shards give the largest split files of about `records.shard_mb`."""
    size = max(n * record_bytes(config, encoder, split) for split, n in counts.items())
    return max(math.ceil(size / (config.records.shard_mb * 1e6)), 1)


def describe(config: ConfigDict, encoder: encoders.Encoder, counts: dict[str, int]) -> list[str]:
    """Returns lines that say what a job would do; measures the encoder on the first photos."""
    lines, total, views = [], 0, 0
    for split, images in sorted(counts.items()):
        size = images * record_bytes(config, encoder, split)
        lines.append(
            f"{split}: {images:,} images in {config.records.num_shards} shards, "
            f"about {size / 1e6:,.0f} MB"
        )
        total += size
        views += images * (2 if config.records.flip and split == "train" else 1)
    rate = _views_per_second(config, encoder)
    lines.append(
        f"in all about {total / 1e9:,.2f} GB, and {views / rate / 60:,.1f} minutes on this machine "
        f"alone, at the {rate:,.1f} pictures/s measured on the first photos"
    )
    return lines


def _views_per_second(config: ConfigDict, encoder: encoders.Encoder) -> float:
    reader = datasets.build_reader(config.dataset)
    rows = itertools.islice(reader.read(datasets.Problems()), _PROBE_PHOTOS)
    found = [photo for photo in image_reader.read_ahead(rows, config) if photo.image is not None]
    run = encode_shards.Encode(config, encoder)
    batch = [photo.image for photo in found][: encoders.batch_size(config.encoder)]
    run(batch, flip=False)  # Traces.
    began = time.monotonic()
    run(batch, flip=False)
    encoding = (time.monotonic() - began) / len(batch)
    began = time.monotonic()
    decoded = sum(1 for _ in image_reader.read_ahead([photo.row for photo in found], config))
    decoding = (time.monotonic() - began) / decoded
    return 1 / (encoding + decoding)  # They share the cores, so their times add up.
