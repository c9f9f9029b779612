"""Photos read and decoded by threads, ahead of whoever takes them."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import tensorflow as tf
from ml_collections import ConfigDict

from imcap import encoders, filesystem, images
from imcap.datasets import CaptionedImage
from imcap.errors import UserError, one_line
from imcap.prefetch import ahead

_CORES = os.cpu_count() or 1
_REMOTE_READERS = 32  # Waiting for a bucket takes no core.


class Photo(NamedTuple):
    """A manifest row with its decoded photo, or with the reason why there is none."""

    row: CaptionedImage
    image: tf.Tensor | None  # float32 [image_size, image_size, 3]
    reason: str = ""


def read_ahead(rows: Iterable[CaptionedImage], config: ConfigDict) -> Iterator[Photo]:
    """Begins at once to read and decode; returns the photos in order, bad ones with a reason.

    Two batches at most wait for being taken.
    """
    load = _loader(config.encoder.image_size, config.encoder.max_pixels)
    begun = (_begin(row, load) for row in rows)
    return ahead(begun, 2 * encoders.batch_size(config.encoder))


def _begin(row: CaptionedImage, load: Callable[[bytes], tf.Tensor]) -> Future[Photo]:
    return _threads(filesystem.is_remote(row.path)).submit(_photo, row, load)


@functools.cache
def _threads(is_remote: bool) -> ThreadPoolExecutor:
    """Returns the threads that all shards of this process share."""
    return ThreadPoolExecutor(_REMOTE_READERS if is_remote else _CORES, "photos")


def _photo(row: CaptionedImage, load: Callable[[bytes], tf.Tensor]) -> Photo:
    try:
        return Photo(row, load(filesystem.read_bytes(row.path)))
    except OSError as error:
        return Photo(row, None, one_line(error))
    except UserError as error:  # Of a bucket that cannot be reached.
        return Photo(row, None, str(error))
    except (tf.errors.OpError, UnicodeDecodeError, ValueError) as error:
        return Photo(row, None, one_line(error))


@functools.cache
def _loader(image_size: int, max_pixels: int) -> Callable[[bytes], tf.Tensor]:
    """Returns bytes -> image as one graph: a tf.data pipeline for each shard would have to set up
    the graph again, which takes as long as decoding a hundred photos."""
    load = tf.function(
        lambda content: images.load(content, image_size, max_pixels),
        input_signature=[tf.TensorSpec([], tf.string)],
    ).get_concrete_function()
    return lambda content: load(tf.constant(content))
