"""Images read and decoded by threads, ahead of their consumer."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import tensorflow as tf

from beam_jobs.transforms.crops import NO_CROPS, NUMBERS, Crops, cut
from imcap import filesystem, images
from imcap.datasets import CaptionedImage
from imcap.errors import UserError, one_line
from imcap.prefetch import in_order

_CORES = os.cpu_count() or 1
_Load = Callable[[bytes, str], Sequence[tf.Tensor]]
_REMOTE_READERS = 32  # More than cores: waiting for a bucket takes no core.


class Decoded(NamedTuple):
    """A manifest row with its decoded image, or with the reason why there is none.

    Attributes:
      image: float32 [image_size, image_size, 3], or None.
      crops: of the image, uint8 [image_size, image_size, 3] each.
    """

    row: CaptionedImage
    image: tf.Tensor | None
    reason: str = ""
    crops: Sequence[tf.Tensor] = ()


def decode_ahead(
    rows: Iterable[CaptionedImage],
    image_size: int,
    max_pixels: int,
    window: int,
    unpacked: str = "",
    crops: Crops = NO_CROPS,
) -> Iterator[Decoded]:
    """Begins at once to read and decode; returns the images in order, bad ones with a reason.

    Args:
      rows: the manifest rows.
      image_size: width and height of the results.
      max_pixels: larger images are refused before decoding.
      window: images at most that are read before they are asked for.
      unpacked: the folder where images in Parquet files are unpacked, see `filesystem.read_image`.
      crops: to make of each image.
    """
    load = _loader(image_size, max_pixels, crops)
    return in_order((_begin(row, load, unpacked) for row in rows), window)


def _begin(row: CaptionedImage, load: _Load, unpacked: str) -> Future[Decoded]:
    return _threads(filesystem.is_remote(row.path)).submit(_decode, row, load, unpacked)


@functools.cache
def _threads(is_remote: bool) -> ThreadPoolExecutor:
    """Returns the threads that all shards of this process share."""
    return ThreadPoolExecutor(_REMOTE_READERS if is_remote else _CORES, "images")


def _decode(row: CaptionedImage, load: _Load, unpacked: str) -> Decoded:
    try:
        image, *cut = load(filesystem.read_image(row.path, unpacked), row.image_id)
        return Decoded(row, image, crops=cut)
    except UserError as error:  # From a bucket; it names the path.
        return Decoded(row, None, str(error))
    except (OSError, tf.errors.OpError, ValueError) as error:
        return Decoded(row, None, one_line(error))


@functools.cache
def _loader(image_size: int, max_pixels: int, crops: Crops) -> _Load:
    """Returns bytes -> image and crops as one graph, which all shards of this process share.

    A tf.data pipeline for each shard would set up the graph each time, which takes as long as
    decoding a hundred images.
    """

    def views(content: tf.Tensor, drawn: tf.Tensor) -> list[tf.Tensor]:
        with tf.device("/CPU:0"):  # As in `images.load`.
            image = images.decode(content, max_pixels)
        cuts = [cut(image, drawn[number], image_size) for number in range(crops.per_image)]
        return [images.resize(image, image_size), *cuts]

    load = tf.function(
        views,
        input_signature=[
            tf.TensorSpec([], tf.string),
            tf.TensorSpec([crops.per_image, NUMBERS], tf.float32),
        ],
        autograph=False,
    ).get_concrete_function()
    return lambda content, image_id: load(tf.constant(content), tf.constant(crops.draw(image_id)))
