"""Images that are refused before they are decoded."""

from __future__ import annotations

import io
import os
import threading
import zlib
from concurrent import futures

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from imcap.serving import rest
from imcap.serving.server import image_limits
from imcap.serving.server.limits import Limits


def encode(kind: str, width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
def test_the_declared_size_is_read_of_every_format(kind):
    assert image_limits.declared_pixels(encode(kind, 30, 20)) == 600


def test_a_file_that_the_model_reads_and_pillow_does_not_has_its_pixels():
    bmp = encode("BMP", 30, 20)
    with pytest.raises(OSError):
        Image.open(io.BytesIO(changed := bmp[:14] + b"\xff" + bmp[15:]))
    assert tf.io.decode_image(changed).shape == (20, 30, 3)
    assert image_limits.declared_pixels(changed) == 600


@pytest.mark.parametrize("content", [b"", b"text", encode("PNG", 30, 20)[:20], b"\xff\xd8\xff"])
def test_what_has_no_header_is_left_to_the_model(content):
    assert image_limits.declared_pixels(content) == 0


@pytest.fixture
def busy_tensorflow():
    """Functions have all of TensorFlow's threads for operations, as a model may."""
    arrived, release = threading.Semaphore(0), threading.Event()

    def hold() -> np.int32:
        arrived.release()
        release.wait(30)
        return np.int32(0)

    held = tf.function(lambda: tf.numpy_function(hold, [], tf.int32)).get_concrete_function()
    with futures.ThreadPoolExecutor() as callers:
        for _ in range(2 * len(os.sched_getaffinity(0))):
            callers.submit(held)
        while arrived.acquire(timeout=0.3):
            pass
        yield
        release.set()


def test_a_header_is_read_while_models_have_all_of_tensorflows_threads(busy_tensorflow):
    with futures.ThreadPoolExecutor(1) as reader:
        found = reader.submit(image_limits.declared_pixels, encode("JPEG", 30, 20))
        assert found.result(10) == 600


def huge_png() -> bytes:
    """A PNG of 70 bytes that declares 100,000 pixels a side."""
    content = bytearray(encode("PNG", 1, 1))
    content[16:24] = (100_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    return bytes(content)


@pytest.mark.parametrize(
    ("image", "problem"),
    [
        (encode("PNG", 1001, 1000), "declares more than 1 million pixels (--max_image_megapixels)"),
        (huge_png(), "declares more than 1 million pixels (--max_image_megapixels)"),
        (bytes((1 << 20) + 1), "a file of more than 1 MiB (--max_image_mib)"),
    ],
    ids=["pixels", "huge", "bytes"],
)
def test_an_image_over_a_limit_is_refused_by_its_index(image, problem):
    limits = Limits(max_image_mib=1, max_image_megapixels=1)
    fits = encode("PNG", 1000, 1000)
    image_limits.check_images([fits], limits, "Element {}: ")
    with pytest.raises(rest.RequestError) as caught:
        image_limits.check_images([fits, image], limits, "Element {}: ")
    assert (caught.value.status, caught.value.message) == (400, f"Element 1: {problem}")
