"""Images are turned upright by their EXIF orientation."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from imcap import exif, images

MAX_PIXELS = 1_000_000


def jpeg(tags: bytes | Image.Exif | None = None, size: tuple[int, int] = (48, 32)) -> bytes:
    coarse = np.random.default_rng(0).integers(0, 256, (2, 3, 3), np.uint8)
    buffer = io.BytesIO()
    image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    image.save(buffer, "JPEG", quality=95, **({"exif": tags} if tags else {}))
    return buffer.getvalue()


def exif_bytes(value: int, order: str) -> bytes:
    kind = b"II*\0" if order == "little" else b"MM\0*"
    number = lambda n, size: n.to_bytes(size, order)  # noqa: E731
    make = number(0x010F, 2) + number(2, 2) + number(4, 4) + b"abc\0"
    entry = number(0x0112, 2) + number(3, 2) + number(1, 4) + number(value, 2) + b"\0\0"
    return b"Exif\0\0" + kind + number(8, 4) + number(2, 2) + make + entry + number(0, 4)


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("value", range(1, 9))
def test_an_image_is_turned_as_by_pillow(value: int, order: str) -> None:
    file = jpeg(exif_bytes(value, order))
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(file))))
    decoded = images.decode(tf.constant(file), MAX_PIXELS).numpy()
    assert decoded.shape == upright.shape
    assert np.abs(decoded.astype(int) - upright).mean() < 2


def test_a_tag_that_pillow_writes_is_read() -> None:
    tags = Image.Exif()
    tags[0x010F], tags[0x0112] = "a camera", 6
    assert int(exif.read(tf.constant(jpeg(tags)))) == 6


@pytest.mark.parametrize("value", [0, 9, 77, 65535])
def test_an_undefined_orientation_is_ignored(value: int) -> None:
    assert int(exif.read(tf.constant(jpeg(exif_bytes(value, "big"))))) == 1


@pytest.mark.parametrize("file", [b"", b"\xff\xd8\xff", b"\x89PNG", b"Exif\0\0MM"])
def test_files_without_a_tag_are_upright(file: bytes) -> None:
    assert int(exif.read(tf.constant(file))) == 1


@settings(max_examples=60)
@given(st.binary(max_size=200))
def test_a_corrupted_tag_is_ignored(garbage: bytes) -> None:
    file = b"\xff\xd8\xff\xe1\0\x40Exif\0\0" + garbage
    assert 1 <= int(exif.read(tf.constant(file))) <= 8


def test_images_are_turned_in_a_graph() -> None:
    load = tf.function(
        lambda raw: images.load(raw, 16, MAX_PIXELS),
        input_signature=[tf.TensorSpec([], tf.string)],
        autograph=False,
    )
    sideways = load(tf.constant(jpeg(exif_bytes(6, "little"))))
    turned = np.rot90(images.load(tf.constant(jpeg()), 16, MAX_PIXELS).numpy(), -1)
    assert np.abs(sideways.numpy() - turned).mean() < 4
