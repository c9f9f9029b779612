"""Image bytes to a tensor: the only place where an image is decoded and resized.

Everything here runs inside a TensorFlow graph, so that the records job, evaluation and the
exported SavedModel see the very same pixels.
"""

from __future__ import annotations

import re

import tensorflow as tf

MAX_PIXELS = 100_000_000
# The declared size lies within these bytes, in every format; no whole image is shorter.
_HEADER_BYTES = 30


def load(image_bytes: tf.Tensor, image_size: int, max_pixels: int = MAX_PIXELS) -> tf.Tensor:
    """Decodes and resizes one image.

    Args:
      image_bytes: string [], a JPEG, PNG, GIF (its first frame), BMP or still WebP file.
      image_size: the side of the result in pixels; the picture is stretched to a square.
      max_pixels: a file that declares more pixels is refused before it is decoded.

    Returns:
      float32 [image_size, image_size, 3], RGB in 0..255.

    Raises:
      tf.errors.InvalidArgumentError: not an image, truncated, or too large.
    """
    image = decode(image_bytes, max_pixels)
    image = tf.image.resize(image, (image_size, image_size), method="bilinear", antialias=True)
    return tf.ensure_shape(image, (image_size, image_size, 3))


def decode(image_bytes: tf.Tensor, max_pixels: int = MAX_PIXELS) -> tf.Tensor:
    """Decodes one image to uint8 [height, width, 3] RGB; see `load`."""
    height, width = declared_size(image_bytes)
    pixels = tf.cast(height, tf.int64) * tf.cast(width, tf.int64)
    fits = (pixels > 0) & (pixels <= max_pixels)
    image_bytes = _require(fits, f"declares no pixels or more than {max_pixels}", image_bytes)
    image = tf.cond(
        _is_webp(image_bytes), lambda: _decode_webp(image_bytes), lambda: _decode(image_bytes)
    )
    return tf.ensure_shape(image, (None, None, 3))


def reason(error: Exception) -> str:
    """Returns why `load` refused an image, in one line without the graph's node names."""
    asserted = re.search(r"assertion failed: \[(.*?)\]", str(error))
    text = asserted.group(1) if asserted else str(error).split("[[{{")[0]
    text = re.sub(r"\{\{function_node .*?\}\}|\[Op:\w*\].*", "", text)
    return " ".join(text.split()) or type(error).__name__


def _require(condition: tf.Tensor, message: str, value: tf.Tensor) -> tf.Tensor:
    """Returns `value`, in a graph that fails with `message` where `condition` does not hold."""
    with tf.control_dependencies([tf.debugging.Assert(condition, [message], summarize=1)]):
        return tf.identity(value)


def _decode(image_bytes: tf.Tensor) -> tf.Tensor:
    return tf.io.decode_image(image_bytes, channels=3, expand_animations=False)


def _decode_webp(image_bytes: tf.Tensor) -> tf.Tensor:
    # [frames, height, width, 3 or 4]: the decoder wants the file's own number of channels.
    return tf.image.decode_webp(image_bytes)[0, ..., :3]


def declared_size(image_bytes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Reads height and width (int32 []) from the header of an image file, string []."""
    is_whole = tf.strings.length(image_bytes) >= _HEADER_BYTES
    image_bytes = _require(is_whole, f"fewer than {_HEADER_BYTES} bytes", image_bytes)

    def starts(prefix: bytes) -> tf.Tensor:
        return tf.equal(tf.strings.substr(image_bytes, 0, len(prefix)), prefix)

    size = tf.case(
        [
            (starts(b"\xff\xd8\xff"), lambda: tf.io.extract_jpeg_shape(image_bytes)[:2]),
            (starts(b"\x89PNG\r\n\x1a\n"), lambda: _png_size(image_bytes)),
            (starts(b"GIF8"), lambda: _little_endian_size(image_bytes, 6, 2)),
            (starts(b"BM"), lambda: tf.abs(_little_endian_size(image_bytes, 18, 4))),
            (_is_webp(image_bytes), lambda: _webp_size(image_bytes)),
        ],
        default=lambda: _require(
            tf.constant(False), "not a JPEG, PNG, GIF, BMP or WebP image", tf.zeros([2], tf.int32)
        ),
    )
    return size[0], size[1]


def _bytes_at(image_bytes: tf.Tensor, start: int, length: int) -> tf.Tensor:
    return tf.cast(
        tf.io.decode_raw(tf.strings.substr(image_bytes, start, length), tf.uint8), tf.int32
    )


def _little_endian_size(image_bytes: tf.Tensor, start: int, width: int) -> tf.Tensor:
    """Reads two adjacent numbers, width first, and returns [height, width]."""
    numbers = tf.reshape(_bytes_at(image_bytes, start, 2 * width), [2, width])
    return tf.reduce_sum(numbers * [256**i for i in range(width)], axis=1)[::-1]


def _png_size(image_bytes: tf.Tensor) -> tf.Tensor:
    numbers = tf.reshape(_bytes_at(image_bytes, 16, 8), [2, 4])
    width, height = tf.unstack(tf.reduce_sum(numbers * [1 << 24, 1 << 16, 1 << 8, 1], axis=1))
    return tf.stack([height, width])


def _is_webp(image_bytes: tf.Tensor) -> tf.Tensor:
    is_riff = tf.equal(tf.strings.substr(image_bytes, 0, 4), b"RIFF")
    return is_riff & tf.equal(tf.strings.substr(image_bytes, 8, 4), b"WEBP")


def _webp_size(image_bytes: tf.Tensor) -> tf.Tensor:
    """Height and width of the three kinds of WebP file (RFC 9649)."""
    kind = tf.strings.substr(image_bytes, 12, 4)
    flags = _bytes_at(image_bytes, 20, 1)[0]
    # TensorFlow 2.21's decoder corrupts its memory on animations, which only VP8X declares.
    is_still = tf.not_equal(kind, "VP8X") | tf.equal(flags // 2 % 2, 0)
    image_bytes = _require(is_still, "an animated WebP", image_bytes)
    head = _bytes_at(image_bytes, 21, 9)  # Offsets below are counted from byte 21.

    def lossless():
        bits = head[0] + head[1] * 256 + head[2] * 65536 + (head[3] % 64) * (1 << 24)
        return tf.stack([(bits // (1 << 14)) % (1 << 14) + 1, bits % (1 << 14) + 1])

    def lossy():
        width, height = head[5] + head[6] * 256, head[7] + head[8] * 256
        return tf.stack([height % (1 << 14), width % (1 << 14)])

    def extended():
        width = head[3] + head[4] * 256 + head[5] * 65536 + 1
        return tf.stack([head[6] + head[7] * 256 + head[8] * 65536 + 1, width])

    return tf.case(
        [(tf.equal(kind, b"VP8L"), lossless), (tf.equal(kind, b"VP8X"), extended)], default=lossy
    )
