"""Images read and decoded by threads, ahead of their consumer."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import tensorflow as tf

from imcap import filesystem, images
from imcap.datasets import CaptionedImage
from imcap.errors import UserError, one_line
from imcap.prefetch import in_order

_CORES = os.cpu_count() or 1
_REMOTE_READERS = 32  # More than cores: waiting for a bucket takes no core.


class Decoded(NamedTuple):
    """A manifest row with its decoded image, or with the reason why there is none.

    Attributes:
      image: float32 [image_size, image_size, 3], or None.
    """

    row: CaptionedImage
    image: tf.Tensor | None
    reason: str = ""


def decode_ahead(
    rows: Iterable[CaptionedImage],
    image_size: int,
    max_pixels: int,
    window: int,
    unpacked: str = "",
) -> Iterator[Decoded]:
    """Begins at once to read and decode; returns the images in order, bad ones with a reason.

    Args:
      rows: the manifest rows.
      image_size: width and height of the results.
      max_pixels: larger images are refused before decoding.
      window: images at most that are read before they are asked for.
      unpacked: the folder where images in Parquet files are unpacked, see `filesystem.read_image`.
    """
    load = _loader(image_size, max_pixels)
    return in_order((_begin(row, load, unpacked) for row in rows), window)


def _begin(
    row: CaptionedImage, load: Callable[[bytes], tf.Tensor], unpacked: str
) -> Future[Decoded]:
    return _threads(filesystem.is_remote(row.path)).submit(_decode, row, load, unpacked)


@functools.cache
def _threads(is_remote: bool) -> ThreadPoolExecutor:
    """Returns the threads that all shards of this process share."""
    return ThreadPoolExecutor(_REMOTE_READERS if is_remote else _CORES, "images")


def _decode(row: CaptionedImage, load: Callable[[bytes], tf.Tensor], unpacked: str) -> Decoded:
    try:
        return Decoded(row, load(filesystem.read_image(row.path, unpacked)))
    except UserError as error:  # From a bucket; it names the path.
        return Decoded(row, None, str(error))
    except (OSError, tf.errors.OpError, ValueError) as error:
        return Decoded(row, None, one_line(error))


@functools.cache
def _loader(image_size: int, max_pixels: int) -> Callable[[bytes], tf.Tensor]:
    """Returns bytes -> image as one graph, which all shards of this process share.

    A tf.data pipeline for each shard would set up the graph each time, which takes as long as
    decoding a hundred images.
    """
    load = tf.function(
        lambda content: images.load(content, image_size, max_pixels),
        input_signature=[tf.TensorSpec([], tf.string)],
        autograph=False,
    ).get_concrete_function()
    return lambda content: load(tf.constant(content))
