"""Thumbnails of any image are small, upright RGB JPEGs."""

from __future__ import annotations

import base64
import dataclasses
import io

import pytest
from PIL import Image
from report_pages import IMAGE, save_image, write

from imcap.reports import thumbnails


def embedded(path) -> Image.Image:
    uri, reason = thumbnails.embed_thumbnail(path)
    assert uri.startswith("data:image/jpeg;base64,") and not reason
    return Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))


@pytest.mark.parametrize(
    ("name", "mode", "size", "shown"),
    [
        ("wide.jpg", "RGB", (640, 320), (224, 112)),
        ("tall.png", "RGB", (100, 900), (25, 224)),
        ("small.jpg", "RGB", (40, 30), (40, 30)),
        ("grey.jpg", "L", (300, 300), (224, 224)),
        ("cmyk.jpg", "CMYK", (300, 300), (224, 224)),
        ("palette.gif", "P", (300, 300), (224, 224)),
        ("alpha.png", "RGBA", (300, 300), (224, 224)),
    ],
)
def test_any_image_becomes_a_small_rgb_jpeg(tmp_path, name, mode, size, shown):
    thumbnail = embedded(save_image(tmp_path / name, size, mode))
    assert (thumbnail.format, thumbnail.mode, thumbnail.size) == ("JPEG", "RGB", shown)


def test_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # Orientation: a quarter clockwise.
    assert embedded(save_image(tmp_path / "1.jpg", (200, 100), exif=exif)).size == (100, 200)


def test_unreadable_image_gives_the_reason(tmp_path):
    (tmp_path / "text.jpg").write_text("not an image")
    reasons = {
        tmp_path / "text.jpg": "text.jpg: not an image that can be read",
        tmp_path / "none.jpg": "none.jpg: no such file",
    }
    for path, reason in reasons.items():
        assert thumbnails.embed_thumbnail(path) == (None, reason)


def test_an_image_within_a_file_is_read_by_its_address(tmp_path):
    Image.new("RGB", (40, 30), "red").save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "x.tar").write_bytes(b"before" + content + b"after")
    assert embedded(f"{tmp_path}/x.tar#6+{len(content)}").size == (40, 30)
    reason = thumbnails.embed_thumbnail(f"{tmp_path}/x.tar#6+99999")[1]
    assert reason.endswith(f"x.tar: it ends before byte {6 + 99999}")


def test_thumbnails_of_a_report_are_read_again(tmp_path):
    path = save_image(tmp_path / "1.jpg")
    images = [
        dataclasses.replace(IMAGE, image_id=name, image_path=tmp_path / name)
        for name in ("1.jpg", "gone & <lost>.jpg")
    ]
    write(tmp_path, images)
    found = thumbnails.read_embedded(str(tmp_path / "report.html"))
    assert found == {"1.jpg": thumbnails.embed_thumbnail(path)[0]}
    assert thumbnails.read_embedded(str(tmp_path / "none.html")) == {}
