"""Random crops of images, as further views to train on.

A crop is cut from the image as it was decoded and then resized: it is sharper than one that is cut
from the encoder's input.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from imcap import hashing, images

NUMBERS = 8  # That describe a crop.
_AREA = 0.55, 1.0  # Of the image.
_ASPECT = 0.8  # The image's aspect ratio is multiplied by 0.8 to 1 / 0.8.
_COLOUR = 0.8, 1.2  # Brightness, contrast and saturation are multiplied by.
_LUMA = 0.299, 0.587, 0.114  # Of red, green and blue.


class Crops(NamedTuple):
    """Which crops to make of each image.

    Attributes:
      per_image: how many.
      seed: decides, with an image's id, what is drawn.
      flip: whether half of them are flipped from left to right. A crop's features are stored once,
        flipped or not: both would take twice the encoder's time.
    """

    per_image: int = 0
    seed: int = 0
    flip: bool = False

    def draw(self, image_id: str) -> np.ndarray:
        """Returns what `cut` takes for each of an image's crops, float32 [crops, NUMBERS]."""
        names = (f"{image_id}/crop{number}" for number in range(1, self.per_image + 1))
        return np.array([self._draw(name) for name in names], np.float32).reshape(-1, NUMBERS)

    def _draw(self, name: str) -> tuple[float, ...]:
        """Returns height, width, top, left, flip, brightness, contrast, saturation.

        Height and width are parts of the image's, top and left of what is left over.
        """
        # Hashes: the same on every worker, in any order.
        drawn = [hashing.stable_fraction(self.seed, f"{name}/{n}") for n in range(NUMBERS)]
        area, aspect = _between(_AREA, drawn[0]), _ASPECT ** (1 - 2 * drawn[1])
        height, width = min(math.sqrt(area / aspect), 1.0), min(math.sqrt(area * aspect), 1.0)
        is_flipped = self.flip and drawn[4] < 0.5
        colours = (_between(_COLOUR, fraction) for fraction in drawn[5:])
        return height, width, drawn[2], drawn[3], float(is_flipped), *colours


NO_CROPS = Crops()


def _between(limits: tuple[float, float], fraction: float) -> float:
    return limits[0] + (limits[1] - limits[0]) * fraction


def cut(image: tf.Tensor, drawn: tf.Tensor, image_size: int) -> tf.Tensor:
    """Cuts a crop from an image and changes its colours.

    Args:
      image: uint8 [height, width, 3], as it was decoded.
      drawn: float32 [NUMBERS], see `Crops.draw`.
      image_size: the side of the result in pixels.

    Returns:
      uint8 [image_size, image_size, 3]: a quarter of float32's bytes wait for the encoder.
    """
    top, rows = _range(drawn[0], drawn[2], tf.shape(image)[0])
    left, columns = _range(drawn[1], drawn[3], tf.shape(image)[1])
    crop = images.resize(image[top : top + rows, left : left + columns], image_size)
    crop = tf.cond(drawn[4] > 0, lambda: tf.reverse(crop, [1]), lambda: crop)
    crop = _changed(tf.zeros_like(crop), crop, drawn[5])
    # A sum of integers is exact: one of floats would depend on the number of threads.
    luma = tf.reduce_sum(tf.cast(tf.round(_luma(crop)), tf.int32))
    mean = tf.cast(luma, tf.float32) / float(image_size * image_size)
    crop = _changed(mean, crop, drawn[6])
    crop = _changed(_luma(crop), crop, drawn[7])
    return tf.cast(tf.round(crop), tf.uint8)


def _range(part: tf.Tensor, start: tf.Tensor, size: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the first of `size` pixels that are kept and their number, int32 [] each."""
    kept = tf.maximum(tf.cast(part * tf.cast(size, tf.float32), tf.int32), 1)
    rest = size - kept
    first = tf.cast(start * tf.cast(rest + 1, tf.float32), tf.int32)
    return tf.minimum(first, rest), kept


def _luma(image: tf.Tensor) -> tf.Tensor:
    """[height, width, 3] to [height, width, 1]."""
    red, green, blue = (image[..., channel : channel + 1] for channel in range(3))
    return _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue


def _changed(without: tf.Tensor, image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Multiplies the difference from an image without brightness, contrast or saturation."""
    return tf.clip_by_value(without + (image - without) * factor, 0.0, 255.0)
