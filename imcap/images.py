"""Image bytes to a tensor: the only place where an image is decoded and resized.

Everything here runs inside a TensorFlow graph, so that the records job, evaluation and the
exported SavedModel see the very same pixels.
"""

from __future__ import annotations

import tensorflow as tf

from imcap import exif

MAX_PIXELS = 100_000_000
# The declared size lies within these bytes, in every format; no whole image is shorter.
_HEADER_BYTES = 30
_JPEG = b"\xff\xd8\xff"
_GIF_EXTENSION, _GIF_FRAME = 0x21, 0x2C  # What the first byte of a block announces.


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
    with tf.device("/CPU:0"):  # On a GPU each byte of a header would be a journey.
        image = decode(image_bytes, max_pixels)
    image = tf.image.resize(image, (image_size, image_size), method="bilinear", antialias=True)
    return tf.ensure_shape(image, (image_size, image_size, 3))


def decode(image_bytes: tf.Tensor, max_pixels: int = MAX_PIXELS) -> tf.Tensor:
    """Decodes one image to uint8 [height, width, 3] RGB, upright by its EXIF tag; see `load`."""
    is_whole = tf.strings.length(image_bytes) >= _HEADER_BYTES
    image_bytes = _require(is_whole, f"fewer than {_HEADER_BYTES} bytes", image_bytes)
    image = tf.cond(
        _starts(image_bytes, _JPEG),  # Nearly all: what the others need takes time to ask.
        lambda: _decode_jpeg(image_bytes, max_pixels),
        lambda: _decode_other(image_bytes, max_pixels),
    )
    return tf.ensure_shape(image, (None, None, 3))


def _decode_jpeg(image_bytes: tf.Tensor, max_pixels: int) -> tf.Tensor:
    image_bytes = _require_size(image_bytes, tf.io.extract_jpeg_shape(image_bytes)[:2], max_pixels)
    return exif.upright(tf.io.decode_jpeg(image_bytes, channels=3), image_bytes)


def _decode_other(image_bytes: tf.Tensor, max_pixels: int) -> tf.Tensor:
    height, width = declared_size(image_bytes)
    image_bytes = _require_size(image_bytes, (height, width), max_pixels)
    return tf.case(
        [
            (_is_webp(image_bytes), lambda: _decode_webp(image_bytes)),
            (_starts(image_bytes, b"GIF8"), lambda: _decode_gif(image_bytes, height, width)),
            (_has_palette(image_bytes), lambda: _decode_palette_bmp(image_bytes)),
        ],
        default=lambda: tf.io.decode_image(image_bytes, channels=3, expand_animations=False),
    )


def _require_size(image_bytes: tf.Tensor, size: tf.Tensor, max_pixels: int) -> tf.Tensor:
    pixels = tf.reduce_prod(tf.cast(size, tf.int64))
    fits = (pixels > 0) & (pixels <= max_pixels)
    return _require(fits, f"declares no pixels or more than {max_pixels}", image_bytes)


def _require(condition: tf.Tensor, message: str, value: tf.Tensor) -> tf.Tensor:
    """Returns `value`, in a graph that fails with `message` where `condition` does not hold."""
    with tf.control_dependencies([tf.debugging.Assert(condition, [message], summarize=1)]):
        return tf.identity(value)


def _starts(image_bytes: tf.Tensor, prefix: bytes) -> tf.Tensor:
    return tf.equal(tf.strings.substr(image_bytes, 0, len(prefix)), prefix)


def _decode_webp(image_bytes: tf.Tensor) -> tf.Tensor:
    # [frames, height, width, 3 or 4]: the decoder wants the file's own number of channels.
    return tf.image.decode_webp(image_bytes)[0, ..., :3]


def _decode_gif(image_bytes: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Decodes the first frame; what it leaves free of the canvas is black.

    TensorFlow's decoder unpacks every frame at the size that the frame claims, whatever the
    canvas: it gets the first frame alone, moved to the canvas' corner.
    """
    # Behind a file that was cut off, zeros end every walk over its blocks.
    image_bytes = tf.strings.join([image_bytes, bytes(1024)])
    raw = tf.io.decode_raw(image_bytes, tf.uint8)
    start = _gif_next(raw, 13 + _gif_palette_bytes(tf.cast(raw[10], tf.int32)), is_data=False)
    head = tf.cast(raw[start : start + 10], tf.int32)
    left, top, columns, rows = (head[i] + 256 * head[i + 1] for i in (1, 3, 5, 7))
    fits = tf.equal(head[0], _GIF_FRAME) & (left + columns <= width) & (top + rows <= height)
    image_bytes = _require(fits, "a GIF without a first frame inside its canvas", image_bytes)
    end = _gif_next(raw, start + 11 + _gif_palette_bytes(head[9]), is_data=True)
    before = tf.strings.substr(image_bytes, 0, start)
    behind = tf.strings.substr(image_bytes, start + 5, end - start - 5)
    alone = tf.strings.join([before, bytes([_GIF_FRAME, 0, 0, 0, 0]), behind, b";"])
    return tf.image.pad_to_bounding_box(tf.io.decode_gif(alone)[0], top, left, height, width)


def _gif_next(raw: tf.Tensor, at: tf.Tensor, *, is_data: bool) -> tf.Tensor:
    """Returns where the next block lies that is no extension.

    `is_data`: whether `at` is inside a block already, at its data: sub-blocks that begin with
    their length, until one of length 0.
    """

    def is_inside(at: tf.Tensor, is_data: tf.Tensor) -> tf.Tensor:
        return is_data | tf.equal(raw[at], _GIF_EXTENSION)

    def skip(at: tf.Tensor, is_data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        size = tf.cast(raw[at], tf.int32)
        return at + tf.where(is_data, size + 1, 2), size > 0

    # Writers fill their sub-blocks, up to 255 bytes; a file of tiny ones would take minutes.
    steps = tf.size(raw) // 32
    return tf.while_loop(is_inside, skip, (at, is_data), maximum_iterations=steps)[0]


def _gif_palette_bytes(flags: tf.Tensor) -> tf.Tensor:
    return tf.where(flags >= 128, 6 * tf.bitwise.left_shift(1, flags % 8), 0)


def _has_palette(image_bytes: tf.Tensor) -> tf.Tensor:
    is_byte = tf.equal(tf.strings.substr(image_bytes, 28, 2), b"\x08\0")  # Bits of a pixel.
    return _starts(image_bytes, b"BM") & is_byte


def _decode_palette_bmp(image_bytes: tf.Tensor) -> tf.Tensor:
    """Looks up the colours that TensorFlow's decoder leaves as indices, as if they were greys."""
    indices = tf.io.decode_bmp(image_bytes)[..., 0]
    pixels, header = (_little_endian_size(image_bytes, at, 4)[1] for at in (10, 14))
    colors = tf.io.decode_raw(image_bytes, tf.uint8)[14 + header : pixels]
    colors = colors[: tf.size(colors) // 4 * 4]
    palette = tf.reshape(colors, (-1, 4))[:, 2::-1]  # Blue comes first, and a spare byte last.
    return tf.gather(palette, tf.cast(indices, tf.int32))


def declared_size(image_bytes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Reads height and width (int32 []) from the header of an image file other than JPEG.

    `image_bytes`: string [], of at least the length of a header.
    """
    kinds = {
        b"\x89PNG\r\n\x1a\n": lambda: _png_size(image_bytes),
        b"GIF8": lambda: _little_endian_size(image_bytes, 6, 2),
        b"BM": lambda: tf.abs(_little_endian_size(image_bytes, 18, 4)),
    }
    size = tf.case(
        [(_starts(image_bytes, magic), read) for magic, read in kinds.items()]
        + [(_is_webp(image_bytes), lambda: _webp_size(image_bytes))],
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
    return _starts(image_bytes, b"RIFF") & tf.equal(tf.strings.substr(image_bytes, 8, 4), b"WEBP")


def _webp_size(image_bytes: tf.Tensor) -> tf.Tensor:
    """Height and width of the three kinds of WebP file (RFC 9649)."""
    kind = tf.strings.substr(image_bytes, 12, 4)
    flags = _bytes_at(image_bytes, 20, 1)[0]
    # TensorFlow 2.21's decoder corrupts its memory on animations, which only VP8X declares.
    is_still = tf.not_equal(kind, "VP8X") | tf.equal(flags // 2 % 2, 0)
    image_bytes = _require(is_still, "an animated WebP", image_bytes)
    # The decoder takes any other kind for bare pixels, whose size lies elsewhere.
    is_known = tf.reduce_any(tf.equal(kind, [b"VP8 ", b"VP8L", b"VP8X"]))
    image_bytes = _require(is_known, "not a kind of WebP", image_bytes)
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
