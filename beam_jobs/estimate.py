"""What a records job will do before it does it: images, shards, bytes and time."""

from __future__ import annotations

import collections
import contextlib
import math
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ml_collections import ConfigDict

from beam_jobs.count_images import count_images, is_large
from beam_jobs.transforms import manifest
from beam_jobs.transforms.decode_images import Decoded, decode_ahead
from beam_jobs.transforms.encoder_graph import EncoderGraph, prepare_process
from imcap import datasets, encoders, records
from imcap.datasets import CaptionedImage
from imcap.datasets.parted import PartedReader
from imcap.errors import UserError

_RECORD_BYTES = 1_000  # About what a record holds besides features.
_TIMED_IMAGES = 64


class Overview(NamedTuple):
    """What a dry run reads of a data set.

    Attributes:
      splits: images by split.
      timed_rows: of the first images, whose files are there.
    """

    splits: dict[str, int]
    timed_rows: list[CaptionedImage]


@contextlib.contextmanager
def read_overview(
    dataset: ConfigDict, limit: int = 0, folder: str = "", beam_args: Sequence[str] = ()
) -> Iterator[Overview]:
    """Reads all rows once, and no image; what has to be drawn is there until the block ends.

    Args:
      dataset: a config's `dataset` part.
      limit: images of each split; 0: all.
      folder, beam_args: see `count_images`.

    Raises:
      UserError: the reader's, if the data set cannot be read or holds no image.
    """
    reader = datasets.build_reader(dataset)
    reader.first()
    if isinstance(reader, PartedReader) and is_large(reader):
        splits = count_images(reader, dataset, limit, folder, beam_args)
        yield Overview(splits, reader.sample(_TIMED_IMAGES))
        return
    if not reader.draws:
        yield _scan(reader, limit)
        return
    with tempfile.TemporaryDirectory() as temporary:
        size = min(dataset.size, _TIMED_IMAGES)
        sample = datasets.build_reader({**dataset.to_dict(), "dir": temporary, "size": size})
        splits = count_images(reader, dataset, limit)
        yield Overview(splits, list(sample.read(datasets.Problems())))


def _scan(reader: datasets.Reader, limit: int) -> Overview:
    splits: collections.Counter[str] = collections.Counter()
    timed_rows: list[CaptionedImage] = []
    for row in manifest.limited(reader.read(datasets.Problems()), limit):
        splits[row.split] += 1
        if len(timed_rows) < _TIMED_IMAGES:
            timed_rows.append(row)
    return Overview(dict(splits), timed_rows)


def split_bytes(
    splits: Mapping[str, int], feature_shape: tuple[int, int], dtype: str, views: records.Views
) -> dict[str, int]:
    """Returns about how many bytes the records of each split take.

    Args:
      splits: images by split.
      feature_shape: (positions, channels).
      dtype: of the features, a name in records.DTYPES; `uint8` counts before its compression.
      views: what is encoded of each image.
    """
    features = math.prod(feature_shape) * records.DTYPES[dtype].itemsize
    return {
        split: images * (len(views.keys(split)) * features + _RECORD_BYTES)
        for split, images in splits.items()
    }


def choose_num_shards(sizes: Mapping[str, int], shard_mb: float) -> int:
    """Returns how many shards give the largest split, of `sizes` bytes, shards of `shard_mb`."""
    return max(math.ceil(max(sizes.values()) / (shard_mb * 1e6)), 1)


def describe(
    splits: Mapping[str, int],
    sizes: Mapping[str, int],
    *,
    num_shards: int,
    views: records.Views,
    rate: float,
    at_most: bool = False,
) -> list[str]:
    """Returns lines that say what a job would do.

    Args:
      splits: images by split.
      sizes: bytes by split.
      num_shards: of each split.
      views: what is encoded of each image.
      rate: images encoded per second.
      at_most: whether the sizes are limits, as those before compression are.
    """
    about = "at most" if at_most else "about"
    lines = [
        f"{split}: {images:,} images in {num_shards} shards, {about} {sizes[split] / 1e6:,.0f} MB"
        for split, images in sorted(splits.items())
    ]
    encoded = sum(images * len(views.keys(split)) for split, images in splits.items())
    total = sum(sizes.values())
    lines.append(
        f"in all {about} {total / 1e9:,.2f} GB and {encoded / rate / 60:,.1f} minutes on this "
        f"machine alone, at the {rate:,.1f} images/s measured on the first images"
    )
    return lines


def images_per_second(
    rows: Sequence[CaptionedImage], config: ConfigDict, encoder: encoders.Encoder, folder: str
) -> float:
    """Measures on some rows how many images this machine reads and encodes per second.

    Args:
      rows: of the manifest.
      config: a config's `encoder` part.
      encoder: what it describes.
      folder: the data set's, for the message.

    Raises:
      UserError: none of the images can be read.
    """
    batch_size = encoders.batch_size(config)

    def decode(rows: Sequence[CaptionedImage]) -> list[Decoded]:
        return list(decode_ahead(rows, config.image_size, config.max_pixels, 2 * batch_size))

    decoded = decode(rows)
    readable = [one for one in decoded if one.image is not None]
    if not readable:
        raise UserError(
            f"no image of {folder} could be read: {len(decoded)} were tried, the first is "
            f"{decoded[0].row.path}: {decoded[0].reason}"
        )
    prepare_process(config.compute_dtype)
    encode = EncoderGraph(config, "float32", encoder)
    batch = [one.image for one in readable][:batch_size]
    encode(batch)  # The first call traces the graph.
    began = time.monotonic()
    encode(batch)
    encoding = (time.monotonic() - began) / len(batch)
    began = time.monotonic()
    decode([one.row for one in readable])
    decoding = (time.monotonic() - began) / len(readable)
    return 1 / (encoding + decoding)  # They share the cores, so their times add up.
