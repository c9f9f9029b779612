"""The EXIF orientation of a JPEG, read and applied in a TensorFlow graph."""

from __future__ import annotations

import tensorflow as tf

JPEG_MAGIC = b"\xff\xd8\xff"  # Every JPEG file begins with these bytes.
_HEAD = 1024  # Cameras write the tag within this many bytes.
_ENTRIES = 32  # Entries read of the first directory; cameras write about a dozen.
_EXIF = b"Exif\0\0"
_TAG = 0x0112
_FLIPS_LEFT_RIGHT = (2, 3, 6, 7)
_FLIPS_UP_DOWN = (3, 4, 7, 8)


def upright(image: tf.Tensor, image_bytes: tf.Tensor) -> tf.Tensor:
    """Turns an image upright by its EXIF orientation.

    Args:
      image: uint8 [height, width, 3], as decoded.
      image_bytes: string [], the file. Without a valid tag the image is returned unchanged, as is
        any that is no JPEG.

    Returns:
      uint8 [height, width, 3] or, for an image on its side, [width, height, 3].
    """
    orientation = read(image_bytes)
    return tf.cond(orientation == 1, lambda: image, lambda: _turn(image, orientation))


def read(image_bytes: tf.Tensor) -> tf.Tensor:
    """Returns the orientation of a JPEG, int32 [] in 1..8, and 1 for anything else."""
    is_jpeg = tf.equal(tf.strings.substr(image_bytes, 0, 3), JPEG_MAGIC)
    return tf.cond(is_jpeg, lambda: _read_jpeg(image_bytes), lambda: tf.constant(1))


def _read_jpeg(image_bytes: tf.Tensor) -> tf.Tensor:
    head = tf.strings.substr(image_bytes, 0, _HEAD)
    pieces = tf.strings.split(head[tf.newaxis], _EXIF, maxsplit=1).values
    return tf.cond(
        tf.size(pieces) > 1,
        lambda: _read_directory(head, tf.strings.length(pieces[0]) + len(_EXIF)),
        lambda: tf.constant(1),
    )


def _read_directory(head: tf.Tensor, tiff: tf.Tensor) -> tf.Tensor:
    padded = tf.strings.join([head, bytes(_HEAD)])
    raw = tf.cast(tf.io.decode_raw(padded, tf.uint8), tf.int32)[:_HEAD]
    is_little = tf.equal(_at(raw, tiff), ord("I"))

    def short(position: tf.Tensor) -> tf.Tensor:
        first, second = _at(raw, position), _at(raw, position + 1)
        return tf.where(is_little, first + 256 * second, 256 * first + second)

    # Two of an offset's four bytes are enough, as offsets beyond the head are not read.
    directory = tiff + short(tf.where(is_little, tiff + 4, tiff + 6))
    entries = directory + 2 + 12 * tf.range(_ENTRIES)
    is_tag = (short(entries) == _TAG) & (tf.range(_ENTRIES) < short(directory))
    value = tf.reduce_max(tf.where(is_tag, short(entries + 8), 0))
    return tf.where((value >= 1) & (value <= 8), value, 1)


def _at(raw: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
    return tf.gather(raw, tf.clip_by_value(position, 0, _HEAD - 1))


def _turn(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    image = tf.cond(orientation >= 5, lambda: tf.transpose(image, (1, 0, 2)), lambda: image)
    for axis, values in ((1, _FLIPS_LEFT_RIGHT), (0, _FLIPS_UP_DOWN)):
        is_flipped = tf.reduce_any(orientation == list(values))
        image = tf.cond(is_flipped, lambda i=image, a=axis: tf.reverse(i, [a]), lambda i=image: i)
    return image
