"""Image files are decoded as Pillow decodes them; other files are refused in one line."""

from __future__ import annotations

import io
import os
import struct
import time
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import (
    FILES,
    HEIGHT,
    MAGICS,
    WIDTH,
    animation,
    bmp_declaring,
    encoded,
    gif_declaring,
    jpeg_declaring,
    png_declaring,
    random_image,
    webp,
    webp_declaring,
)
from PIL import Image

from imcap import images
from imcap.errors import one_line

MAX_PIXELS = 100_000_000


@tf.function(input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
def decode_in_graph(image_bytes: tf.Tensor) -> tf.Tensor:
    return images.decode(image_bytes, MAX_PIXELS)


@tf.function(input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
def load_in_graph(image_bytes: tf.Tensor) -> tf.Tensor:
    return images.load(image_bytes, 16, MAX_PIXELS)


def decode(image_bytes: bytes) -> np.ndarray:
    return decode_in_graph(tf.constant(image_bytes)).numpy()


def decoding_refusal(
    image_bytes: bytes, load: Callable[[tf.Tensor], object] = load_in_graph
) -> str:
    """The reason why a file is refused, which is always one line without the graph's names."""
    with pytest.raises(tf.errors.OpError) as caught:
        load(tf.constant(image_bytes))
    reason = one_line(caught.value)
    assert_is_one_line(reason)
    return reason


def assert_is_one_line(reason: str) -> None:
    assert 0 < len(reason) < 150
    assert not any(part in reason for part in ("\n", "{{", "[[", "Op:", "tf.Tensor", "node"))


@pytest.mark.parametrize("name", FILES)
def test_pixels_are_those_of_pillow(name: str) -> None:
    image_bytes, tolerance = FILES[name]
    expected = np.asarray(Image.open(io.BytesIO(image_bytes)).convert("RGB"))
    pixels = decode(image_bytes)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    np.testing.assert_allclose(pixels.astype(int), expected, atol=tolerance)


def test_16_bit_images_keep_the_upper_8_bits() -> None:
    levels = np.arange(WIDTH * HEIGHT, dtype=np.uint16).reshape(HEIGHT, WIDTH) * 33
    pixels = decode(encoded(Image.fromarray(levels), "PNG"))
    expected = np.repeat(levels[..., np.newaxis] >> 8, 3, axis=2)
    np.testing.assert_allclose(pixels.astype(int), expected, atol=1)


def test_a_gif_frame_is_placed_on_a_black_canvas() -> None:
    gif = bytearray(gif_declaring(WIDTH + 20, HEIGHT + 10))
    frame = gif.index(struct.pack("<BHHHH", 0x2C, 0, 0, WIDTH, HEIGHT))
    gif[frame + 1 : frame + 5] = struct.pack("<HH", 11, 7)
    expected = np.zeros((HEIGHT + 10, WIDTH + 20, 3), np.uint8)
    expected[7 : 7 + HEIGHT, 11 : 11 + WIDTH] = random_image("P").convert("RGB")
    np.testing.assert_array_equal(decode(bytes(gif)), expected)


def test_a_gif_is_decoded_without_its_later_frames() -> None:
    whole = FILES["gif animated"][0]
    np.testing.assert_array_equal(decode(whole[: len(whole) * 2 // 3]), decode(whole))


def test_loading_stretches_to_a_square_with_antialiasing() -> None:
    image = images.load(tf.constant(FILES["png"][0]), 16, MAX_PIXELS)
    assert image.shape == (16, 16, 3)
    assert image.dtype == tf.float32
    expected = np.asarray(random_image().resize((16, 16), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(image, expected.astype(np.float32), atol=2)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
def test_an_image_of_one_pixel_is_decoded(kind: str) -> None:
    image_bytes = encoded(Image.new("RGB", (1, 1), (200, 100, 50)), kind)
    assert decode(image_bytes).shape == (1, 1, 3)
    image = load_in_graph(tf.constant(image_bytes)).numpy()
    np.testing.assert_allclose(image, np.full((16, 16, 3), (200, 100, 50)), atol=10)


@pytest.mark.parametrize(
    ("image_bytes", "reason"),
    [
        (b"", "an empty file"),
        (b"\xff\xd8\xff\xe0", "truncated: fewer than 30 bytes"),
        (b"\x89PNG\r\n\x1a\n", "truncated: fewer than 30 bytes"),
        (b"<html>404</html>", "an HTML page"),
        (b"\n <!DOCTYPE HTML><html><body>Not found</body></html>", "an HTML page"),
        (b"404 not found", "not a JPEG, PNG, GIF, BMP or WebP image"),
        (b"This is a text file that was named image.jpg.", "not a JPEG, PNG, GIF, BMP or WebP"),
        (encoded(random_image(), "TIFF"), "not a JPEG, PNG, GIF, BMP or WebP image"),
        (encoded(random_image(), "PPM"), "not a JPEG, PNG, GIF, BMP or WebP image"),
        (animation("WEBP"), "an animated WebP"),
        (webp(b"ALPH" + bytes(40)), "not a kind of WebP"),
        (webp(FILES["webp lossless"][0][20:]), "not a kind of WebP"),  # Bare pixels.
        (webp_declaring(4, 4), "Failed to decode WebP"),
        (gif_declaring(WIDTH - 1, HEIGHT), "a GIF without a first frame inside its canvas"),
        (gif_declaring(WIDTH, HEIGHT - 1), "a GIF without a first frame inside its canvas"),
        (FILES["gif"][0][:781] + b";" + bytes(20), "a GIF without a first frame"),
        (encoded(random_image("1"), "BMP"), "channels"),
        (png_declaring(0, 10), "declares no pixels or more than 100000000"),
        (bmp_declaring(-3, 10), "Width must be positive"),
    ],
)  # fmt: skip
def test_other_files_are_refused_with_a_reason(image_bytes: bytes, reason: str) -> None:
    assert reason in decoding_refusal(image_bytes)


@pytest.mark.parametrize("name", [name for name in FILES if name != "gif animated"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_truncated_file_is_refused(name: str, share: float) -> None:
    whole = FILES[name][0]
    decoding_refusal(whole[: int(len(whole) * share)])


def in_tf_data(image_bytes: tf.Tensor) -> object:
    return next(iter(tf.data.Dataset.from_tensors(image_bytes).map(load_in_graph)))


@pytest.mark.parametrize(
    "load", [load_in_graph, lambda b: images.load(b, 16, MAX_PIXELS), in_tf_data]
)
@pytest.mark.parametrize("name", ["jpeg", "png", "webp lossy"])
def test_reasons_are_one_line_in_eager_graph_and_tf_data(name: str, load: Callable) -> None:
    assert decoding_refusal(animation("WEBP"), load) == "an animated WebP"
    decoding_refusal(FILES[name][0][:80], load)


def memory(field: str) -> int:
    """A field of this process's status, in MiB."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(field)) // 1024


def growth(function: Callable[[], object]) -> int:
    """By how many MiB the memory of this process grows at most while `function` runs."""
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")  # Resets the peak.
    before = memory("VmRSS")
    function()
    return memory("VmHWM") - before


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="measured as on Linux")
@pytest.mark.parametrize(
    "image_bytes",
    [
        encoded(Image.new("1", (12_000, 9_000)), "PNG"),
        jpeg_declaring(12_000, 9_000),
        png_declaring(12_000, 9_000),
        bmp_declaring(12_000, -9_000),
        gif_declaring(12_000, 9_000),
        webp_declaring(12_000, 9_000),
    ],
    ids=["real png", "jpeg", "png", "bmp", "gif", "webp"],
)
def test_an_image_over_the_limit_is_refused_before_decoding(image_bytes: bytes) -> None:
    reasons: list[str] = []
    grown = growth(lambda: reasons.append(decoding_refusal(image_bytes)))
    assert reasons == ["declares no pixels or more than 100000000"]
    assert grown < 50  # Its pixels would take 300.


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="measured as on Linux")
def test_a_gif_frame_beyond_its_canvas_is_not_decoded() -> None:
    gif = gif_declaring(10, 10, Image.new("P", (12_000, 9_000)))
    assert growth(lambda: decoding_refusal(gif)) < 50


def test_a_gif_of_tiny_blocks_is_refused_in_seconds() -> None:
    head = FILES["gif"][0][:781] + struct.pack("<BHHHHB", 0x2C, 0, 0, WIDTH, HEIGHT, 0) + b"\x08"
    before = time.process_time()
    decoding_refusal(head + b"\x01\x55" * 1_000_000 + b"\0;")
    assert time.process_time() - before < 4  # Without a limit of steps it takes 10 seconds.


@pytest.mark.parametrize("name", ["jpeg", "png", "gif", "bmp", "webp lossy", "webp lossless"])
def test_the_limit_of_pixels_is_inclusive(name: str) -> None:
    image_bytes = tf.constant(FILES[name][0])
    assert images.decode(image_bytes, WIDTH * HEIGHT).shape == (HEIGHT, WIDTH, 3)
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"more than {WIDTH * HEIGHT - 1}"):
        images.decode(image_bytes, WIDTH * HEIGHT - 1)


@pytest.mark.parametrize(
    "name", [n for n, (content, *_) in FILES.items() if content[:2] != b"\xff\xd8"]
)
def test_the_declared_size_is_the_decoded_size(name: str) -> None:
    height, width = images.declared_size(tf.constant(FILES[name][0]))
    assert (int(height), int(width)) == (HEIGHT, WIDTH)


def assert_is_decoded_or_refused(image_bytes: bytes) -> None:
    try:
        image = load_in_graph(tf.constant(image_bytes))
    except tf.errors.OpError as error:
        assert_is_one_line(one_line(error))
    else:
        assert image.shape == (16, 16, 3)
        assert np.all((image > -0.01) & (image < 255.01))  # Resizing rounds.


garbage = settings(max_examples=400)


@garbage
@given(st.sampled_from((b"", *MAGICS)), st.binary(max_size=600))
def test_random_bytes_never_crash(magic: bytes, rest: bytes) -> None:
    assert_is_decoded_or_refused(magic + rest)


@garbage
@given(st.sampled_from(sorted(FILES)), st.floats(0, 1), st.binary(max_size=400))
def test_a_real_start_with_a_random_end_never_crashes(name: str, cut: float, rest: bytes) -> None:
    whole = FILES[name][0]
    assert_is_decoded_or_refused(whole[: int(len(whole) * cut)] + rest)


@garbage
@given(st.sampled_from(sorted(FILES)), st.data())
def test_a_real_file_with_wrong_bytes_never_crashes(name: str, data: st.DataObject) -> None:
    wrong = bytearray(FILES[name][0])
    # Headers are short and decide the most.
    positions = st.one_of(st.integers(0, 60), st.integers(0, len(wrong) - 1))
    changes = st.lists(st.tuples(positions, st.integers(0, 255)), min_size=1, max_size=8)
    for position, value in data.draw(changes):
        wrong[position] = value
    assert_is_decoded_or_refused(bytes(wrong))
