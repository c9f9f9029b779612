"""The images of the web page: what is accepted, how it is shown, and the samples."""

from __future__ import annotations

import io
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from refusals import refusal

from imcap.errors import UserError
from imcap.serving import page_images

RED, BLUE = (250, 0, 0), (0, 0, 250)


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def red_over_blue(width: int = 60, height: int = 80) -> Image.Image:
    image = Image.new("RGB", (width, height), BLUE)
    image.paste(RED, (0, 0, width, height // 2))
    return image


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_shown_upright_by_its_exif_tag(orientation):
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    image = red_over_blue()
    stored = image.transpose(turns[orientation]) if orientation in turns else image
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = page_images.read_image("a.jpg", encode(stored, "JPEG", exif=exif)).load(80)
    assert found.size == (60, 80)
    assert found.getpixel((30, 10))[0] > 200 > 50 > found.getpixel((30, 70))[0]


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_the_models_get_other_formats_than_jpeg_upright(kind):
    exif = Image.Exif()
    exif[0x0112] = 3
    stored = red_over_blue().transpose(Image.Transpose.ROTATE_180)
    turned = page_images.read_image("a", encode(stored, kind, exif=exif)).content
    with Image.open(io.BytesIO(turned)) as image:
        assert image.convert("RGB").getpixel((30, 10))[0] > 200
    usual = encode(red_over_blue(), kind)
    assert page_images.read_image("a", usual).content == usual


@pytest.mark.parametrize("kind", page_images.FORMATS)
def test_every_format_of_the_models_is_shown(kind):
    found = page_images.read_image("a", encode(red_over_blue(1300, 650), kind))
    assert found.load(9999).size == (page_images.SHOWN_SIDE, page_images.SHOWN_SIDE // 2)


def test_files_that_are_no_images_are_refused_by_name():
    not_read = "not an image that can be read (JPEG, PNG, GIF, BMP or still WebP)"
    page = b"\n <!DOCTYPE HTML><html lang=en>"
    read, tiff = page_images.read_image, encode(red_over_blue(), "TIFF")
    assert refusal(read, "a.jpg", b"") == "a.jpg: the file is empty"
    assert refusal(read, "a.jpg", page) == "a.jpg: this is a web page, not an image"
    assert refusal(read, "a.jpg", b"garbage") == f"a.jpg: {not_read}"
    assert refusal(read, "a.tif", tiff) == f"a.tif: {not_read}"


@pytest.mark.parametrize(
    ("side", "message"),
    [
        (10_000, "a.png: the image has 100 million pixels; at most 50 million are accepted"),
        (20_000, "a.png: the image has too many pixels; at most 50 million are accepted"),
    ],
)
def test_a_very_large_image_is_refused_before_it_is_decoded(side, message):
    content = encode(Image.new("1", (1, 1)))
    header = b"IHDR" + 2 * side.to_bytes(4, "big") + content[24:29]
    content = content[:12] + header + zlib.crc32(header).to_bytes(4, "big") + content[33:]
    assert refusal(page_images.read_image, "a.png", content) == message


def test_a_truncated_image_is_refused():
    content = encode(Image.effect_noise((200, 200), 90).convert("RGB"), "JPEG")
    message = "a.jpg: the image is corrupted and cannot be decoded"
    cut = content[: len(content) // 2]
    assert refusal(page_images.read_image, "a.jpg", cut) == message


@given(st.binary() | st.binary().map(b"\x89PNG\r\n\x1a\n".__add__) | st.binary().map(b"BM".__add__))
def test_any_bytes_are_an_image_or_refused_in_one_line(content):
    try:
        page_images.read_image("a", content)
    except UserError as error:
        assert "\n" not in str(error)


def test_samples_are_the_same_each_time_and_accepted():
    found = page_images.samples()
    assert len(found) == 6 and found == page_images.samples()
    for name, content in found.items():
        assert page_images.read_image(name, content).load(64).size == (64, 64)


def test_samples_of_a_folder_are_its_images(tmp_path):
    with pytest.raises(UserError, match="no image in this folder"):
        page_images.samples(str(tmp_path))
    for name in ("b.png", "a.jpg", "notes.txt"):
        (tmp_path / name).write_bytes(name.encode())
    assert page_images.samples(str(tmp_path)) == {"a.jpg": b"a.jpg", "b.png": b"b.png"}
    with pytest.raises(UserError, match="No such file or directory"):
        page_images.samples(str(tmp_path / "nowhere"))
