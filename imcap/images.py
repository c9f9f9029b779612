"""Image bytes to a tensor: the decoding of every image that a network sees.

Everything here runs inside a TensorFlow graph, so that the records job, `imcap pretrain` and the
exported SavedModel get the same pixels.
"""

from __future__ import annotations

import tensorflow as tf

from imcap import exif

# Every format declares the size within these bytes, and no whole image is shorter.
_HEADER_BYTES = 30
_MAGICS = (exif.JPEG_MAGIC, b"\x89PNG", b"GIF8", b"BM", b"RIFF")
_NO_IMAGE = "not a JPEG, PNG, GIF, BMP or WebP image"
_GIF_EXTENSION, _GIF_FRAME = 0x21, 0x2C  # The first byte of a block says which kind it is.


def load(image_bytes: tf.Tensor, image_size: int, max_pixels: int) -> tf.Tensor:
    """Decodes and resizes one image.

    Args:
      image_bytes: string [], a JPEG, PNG, GIF (its first frame), BMP or still WebP file.
      image_size: the side of the result in pixels; the image is stretched to a square.
      max_pixels: a file that declares more pixels is refused before it is decoded.

    Returns:
      float32 [image_size, image_size, 3], RGB in 0..255.

    Raises:
      tf.errors.InvalidArgumentError: not an image, truncated, or too large.
    """
    with tf.device("/CPU:0"):  # Parse headers on the CPU: avoids device transfers.
        image = decode(image_bytes, max_pixels)
    return resize(image, image_size)


def resize(image: tf.Tensor, image_size: int) -> tf.Tensor:
    """Resizes [height, width, 3] to float32 [image_size, image_size, 3]."""
    image = tf.image.resize(image, (image_size, image_size), method="bilinear", antialias=True)
    return tf.ensure_shape(image, (image_size, image_size, 3))


def decode(image_bytes: tf.Tensor, max_pixels: int) -> tf.Tensor:
    """Decodes one image to uint8 [height, width, 3] RGB, upright by its EXIF tag.

    Arguments and errors are those of `load`.
    """
    has_header = tf.strings.length(image_bytes) >= _HEADER_BYTES
    image = tf.cond(
        # JPEG, the commonest format, skips the checks that the others need.
        has_header & _starts(image_bytes, exif.JPEG_MAGIC),
        lambda: _decode_jpeg(image_bytes, max_pixels),
        lambda: _decode_other(image_bytes, max_pixels),
    )
    return tf.ensure_shape(image, (None, None, 3))


def _decode_jpeg(image_bytes: tf.Tensor, max_pixels: int) -> tf.Tensor:
    image_bytes = _require_size(image_bytes, tf.io.extract_jpeg_shape(image_bytes)[:2], max_pixels)
    return exif.upright(tf.io.decode_jpeg(image_bytes, channels=3), image_bytes)


def _decode_other(image_bytes: tf.Tensor, max_pixels: int) -> tf.Tensor:
    height, width = declared_size(_require_header(image_bytes))
    image_bytes = _require_size(image_bytes, (height, width), max_pixels)
    return tf.case(
        [
            (_is_webp(image_bytes), lambda: _decode_webp(image_bytes)),
            (_starts(image_bytes, b"GIF8"), lambda: _decode_gif(image_bytes, height, width)),
            (_has_palette(image_bytes), lambda: _decode_palette_bmp(image_bytes)),
        ],
        default=lambda: tf.io.decode_image(image_bytes, channels=3, expand_animations=False),
    )


def _require_header(image_bytes: tf.Tensor) -> tf.Tensor:
    """Returns `image_bytes`, in a graph that fails where they hold no header."""
    length = tf.strings.length(image_bytes)
    image_bytes = _require(length > 0, "an empty file", image_bytes)
    start = tf.strings.lower(tf.strings.strip(tf.strings.substr(image_bytes, 0, 256)))
    is_page = _starts(start, b"<!doctype html") | _starts(start, b"<html")
    image_bytes = _require(~is_page, "an HTML page", image_bytes)
    has_header = length >= _HEADER_BYTES
    has_magic = tf.reduce_any([_starts(image_bytes, magic) for magic in _MAGICS])
    message = f"truncated: fewer than {_HEADER_BYTES} bytes"
    image_bytes = _require(has_header | ~has_magic, message, image_bytes)
    return _require(has_header, _NO_IMAGE, image_bytes)


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
    # [frames, height, width, 3 or 4]: the decoder fails on other channels than the file has.
    return tf.image.decode_webp(image_bytes)[0, ..., :3]


def _decode_gif(image_bytes: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Decodes the first frame; the canvas around it is black.

    TensorFlow's decoder unpacks every frame at the size that the frame declares, even beyond the
    canvas: it gets a GIF of the first frame alone, moved to the corner of the canvas.
    """
    # Zeros after the end of a truncated file end every loop over its blocks.
    image_bytes = tf.strings.join([image_bytes, bytes(1024)])
    raw = tf.io.decode_raw(image_bytes, tf.uint8)
    start = _gif_next(raw, 13 + _gif_palette_bytes(tf.cast(raw[10], tf.int32)), is_data=False)
    head = tf.cast(raw[start : start + 10], tf.int32)
    left, top, columns, rows = (head[i] + 256 * head[i + 1] for i in (1, 3, 5, 7))
    fits = tf.equal(head[0], _GIF_FRAME) & (left + columns <= width) & (top + rows <= height)
    image_bytes = _require(fits, "a GIF without a first frame inside its canvas", image_bytes)
    end = _gif_next(raw, start + 11 + _gif_palette_bytes(head[9]), is_data=True)
    before = tf.strings.substr(image_bytes, 0, start)
    after = tf.strings.substr(image_bytes, start + 5, end - start - 5)
    single = tf.strings.join([before, bytes([_GIF_FRAME, 0, 0, 0, 0]), after, b";"])
    return tf.image.pad_to_bounding_box(tf.io.decode_gif(single)[0], top, left, height, width)


def _gif_next(raw: tf.Tensor, at: tf.Tensor, *, is_data: bool) -> tf.Tensor:
    """Returns the position of the next block that is no extension.

    Args:
      raw: uint8 [bytes], the file.
      at: int32 [], a position in it.
      is_data: whether `at` is inside a block, at its data: sub-blocks that begin with their
        length, until one of length 0.
    """

    def is_inside(at: tf.Tensor, is_data: tf.Tensor) -> tf.Tensor:
        return is_data | tf.equal(raw[at], _GIF_EXTENSION)

    def skip(at: tf.Tensor, is_data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        size = tf.cast(raw[at], tf.int32)
        return at + tf.where(is_data, size + 1, 2), size > 0

    # Writers fill sub-blocks up to 255 bytes; without a limit, a file of tiny ones takes minutes.
    steps = tf.size(raw) // 32
    return tf.while_loop(is_inside, skip, (at, is_data), maximum_iterations=steps)[0]


def _gif_palette_bytes(flags: tf.Tensor) -> tf.Tensor:
    return tf.where(flags >= 128, 6 * tf.bitwise.left_shift(1, flags % 8), 0)


def _has_palette(image_bytes: tf.Tensor) -> tf.Tensor:
    is_byte = tf.equal(tf.strings.substr(image_bytes, 28, 2), b"\x08\0")  # Bits per pixel.
    return _starts(image_bytes, b"BM") & is_byte


def _decode_palette_bmp(image_bytes: tf.Tensor) -> tf.Tensor:
    """Decodes a BMP with a palette: TensorFlow's decoder returns indices as if they were greys."""
    indices = tf.io.decode_bmp(image_bytes)[..., 0]
    pixels, header = (_little_endian(image_bytes, start, 4) for start in (10, 14))
    colours = tf.io.decode_raw(image_bytes, tf.uint8)[14 + header : pixels]
    colours = colours[: tf.size(colours) // 4 * 4]
    palette = tf.reshape(colours, (-1, 4))[:, 2::-1]  # Stored as blue, green, red, unused.
    return tf.gather(palette, tf.cast(indices, tf.int32))


def declared_pixels(image_bytes: tf.Tensor) -> tf.Tensor:
    """Reads how many pixels an image file's header declares, int64 [].

    Args:
      image_bytes: string [].

    Raises:
      tf.errors.InvalidArgumentError: no header of a format that `decode` reads.
    """
    size = tf.cond(
        _starts(image_bytes, exif.JPEG_MAGIC),
        lambda: tf.io.extract_jpeg_shape(image_bytes)[:2],
        lambda: tf.stack(declared_size(_require_header(image_bytes))),
    )
    return tf.reduce_prod(tf.cast(size, tf.int64))


def declared_size(image_bytes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Reads the size from the header of an image file other than JPEG.

    Args:
      image_bytes: string [], at least 30 bytes long.

    Returns:
      Height and width, int32 [].

    Raises:
      tf.errors.InvalidArgumentError: another format, or an animated WebP.
    """
    readers = {
        b"\x89PNG\r\n\x1a\n": lambda: _png_size(image_bytes),
        b"GIF8": lambda: _size_at(image_bytes, 6, 2),
        b"BM": lambda: tf.abs(_size_at(image_bytes, 18, 4)),
    }
    size = tf.case(
        [(_starts(image_bytes, magic), read) for magic, read in readers.items()]
        + [(_is_webp(image_bytes), lambda: _webp_size(image_bytes))],
        default=lambda: _require(tf.constant(False), _NO_IMAGE, tf.zeros([2], tf.int32)),
    )
    return size[0], size[1]


def _bytes_at(image_bytes: tf.Tensor, start: int, length: int) -> tf.Tensor:
    return tf.cast(
        tf.io.decode_raw(tf.strings.substr(image_bytes, start, length), tf.uint8), tf.int32
    )


def _little_endian(image_bytes: tf.Tensor, start: int, num_bytes: int) -> tf.Tensor:
    """Reads one number of `num_bytes` bytes, the lowest first."""
    digits = _bytes_at(image_bytes, start, num_bytes)
    return tf.reduce_sum(digits * [256**i for i in range(num_bytes)])


def _size_at(image_bytes: tf.Tensor, start: int, num_bytes: int) -> tf.Tensor:
    """Reads width and height, two adjacent little-endian numbers; returns [height, width]."""
    width = _little_endian(image_bytes, start, num_bytes)
    return tf.stack([_little_endian(image_bytes, start + num_bytes, num_bytes), width])


def _png_size(image_bytes: tf.Tensor) -> tf.Tensor:
    numbers = tf.reshape(_bytes_at(image_bytes, 16, 8), [2, 4])
    width, height = tf.unstack(tf.reduce_sum(numbers * [1 << 24, 1 << 16, 1 << 8, 1], axis=1))
    return tf.stack([height, width])


def _is_webp(image_bytes: tf.Tensor) -> tf.Tensor:
    return _starts(image_bytes, b"RIFF") & tf.equal(tf.strings.substr(image_bytes, 8, 4), b"WEBP")


def _webp_size(image_bytes: tf.Tensor) -> tf.Tensor:
    """Reads [height, width] of the three kinds of WebP file (RFC 9649)."""
    kind = tf.strings.substr(image_bytes, 12, 4)
    flags = _bytes_at(image_bytes, 20, 1)[0]
    # TensorFlow 2.21's decoder corrupts memory on animations, which only VP8X can declare.
    is_still = tf.not_equal(kind, "VP8X") | tf.equal(flags // 2 % 2, 0)
    image_bytes = _require(is_still, "an animated WebP", image_bytes)
    # The decoder reads any other kind as bare pixels, with the size at another place.
    is_known = tf.reduce_any(tf.equal(kind, [b"VP8 ", b"VP8L", b"VP8X"]))
    image_bytes = _require(is_known, "not a kind of WebP", image_bytes)
    head = _bytes_at(image_bytes, 21, 9)  # Offsets below are counted from byte 21.

    def lossless() -> tf.Tensor:
        bits = head[0] + head[1] * 256 + head[2] * 65536 + (head[3] % 64) * (1 << 24)
        return tf.stack([(bits // (1 << 14)) % (1 << 14) + 1, bits % (1 << 14) + 1])

    def lossy() -> tf.Tensor:
        width, height = head[5] + head[6] * 256, head[7] + head[8] * 256
        return tf.stack([height % (1 << 14), width % (1 << 14)])

    def extended() -> tf.Tensor:
        width = head[3] + head[4] * 256 + head[5] * 65536 + 1
        return tf.stack([head[6] + head[7] * 256 + head[8] * 65536 + 1, width])

    return tf.case(
        [(tf.equal(kind, b"VP8L"), lossless), (tf.equal(kind, b"VP8X"), extended)], default=lossy
    )
