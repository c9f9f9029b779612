"""Image files of every kind, and files that declare another size than they have."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 53, 37


def random_image(mode: str = "RGB", seed: int = 0) -> Image.Image:
    """A smooth random image, so that lossy formats keep it."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(noise).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).convert(mode)


def transparent() -> Image.Image:
    """An image that is transparent towards one side."""
    image = random_image("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def animation(kind: str) -> bytes:
    frames = [random_image("RGB", seed) for seed in (1, 2)]
    return encoded(random_image(), kind, save_all=True, append_images=frames, duration=100)


# Name: the file and how far a pixel may be from Pillow's.
FILES: dict[str, tuple[bytes, int]] = {
    "jpeg": (encoded(random_image(), "JPEG"), 4),
    "jpeg grey": (encoded(random_image("L"), "JPEG"), 4),
    "jpeg cmyk": (encoded(random_image("CMYK"), "JPEG"), 4),
    "jpeg progressive": (encoded(random_image(), "JPEG", progressive=True), 4),
    "png": (encoded(random_image(), "PNG"), 0),
    "png grey": (encoded(random_image("L"), "PNG"), 0),
    "png rgba": (encoded(transparent(), "PNG"), 0),
    "png grey alpha": (encoded(transparent().convert("LA"), "PNG"), 0),
    "png palette": (encoded(random_image("P"), "PNG"), 0),
    "png bits": (encoded(random_image("1"), "PNG"), 0),
    "gif": (encoded(random_image("P"), "GIF"), 0),
    "gif interlaced": (encoded(random_image("P"), "GIF", interlace=True), 0),
    "gif with a comment": (encoded(random_image("P"), "GIF", comment=b"a long comment " * 40), 0),
    "gif animated": (animation("GIF"), 0),
    "bmp": (encoded(random_image(), "BMP"), 0),
    "bmp grey": (encoded(random_image("L"), "BMP"), 0),
    "bmp palette": (encoded(random_image("P"), "BMP"), 0),
    "bmp short palette": (encoded(random_image().quantize(17), "BMP"), 0),
    "bmp alpha": (encoded(transparent(), "BMP"), 0),
    "webp lossy": (encoded(random_image(), "WEBP", quality=80), 2),
    "webp lossless": (encoded(random_image(), "WEBP", lossless=True), 0),
    "webp lossy alpha": (encoded(transparent(), "WEBP", quality=80), 2),
    "webp lossless alpha": (encoded(transparent(), "WEBP", lossless=True, exact=True), 0),
    "webp with metadata": (encoded(random_image(), "WEBP", lossless=True, xmp=b"<x/>"), 0),
}


MAGICS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"GIF87a", b"BM", b"RIFF\0\0\0\0WEBP")


def png_declaring(width: int, height: int) -> bytes:
    """A PNG with another size in its header, and the header's checksum right."""
    png = bytearray(FILES["png"][0])
    png[16:24] = struct.pack(">II", width, height)
    png[29:33] = struct.pack(">I", zlib.crc32(png[12:29]))
    return bytes(png)


def jpeg_declaring(width: int, height: int) -> bytes:
    jpeg = bytearray(FILES["jpeg"][0])
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(jpeg)


def bmp_declaring(width: int, height: int) -> bytes:
    bmp = bytearray(FILES["bmp"][0])
    bmp[18:26] = struct.pack("<ii", width, height)
    return bytes(bmp)


def gif_declaring(width: int, height: int, image: Image.Image | None = None) -> bytes:
    """A GIF with another canvas than its frame."""
    gif = bytearray(encoded(image or random_image("P"), "GIF"))
    gif[6:10] = struct.pack("<HH", width, height)
    return bytes(gif)


def webp(chunks: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WEBP" + chunks


def webp_declaring(width: int, height: int) -> bytes:
    """An extended WebP with this canvas and a small image."""
    size = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    head = b"VP8X" + struct.pack("<I", 10) + bytes(4) + size
    return webp(head + FILES["webp lossless"][0][12:])
