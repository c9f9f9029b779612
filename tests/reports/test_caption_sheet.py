"""The figure of images with their captions shows the images and the words it is given."""

from __future__ import annotations

import dataclasses

import landscapes
import numpy as np
import pytest
from PIL import Image

from imcap.reports import caption_sheet
from imcap.reports.report import ReportImage


@pytest.fixture
def images(tmp_path) -> list[ReportImage]:
    """14 images with captions and references."""
    for number in range(14):
        landscapes.draw(number).save(tmp_path / f"{number}.png")
    return [
        ReportImage(
            f"{number}", tmp_path / f"{number}.png", f"a sky {number} $x$", -1.0,
            (f"the ground {number}", "A “sky” " + "and more of it " * 20), {},
        )
        for number in range(14)
    ]  # fmt: skip


def draw(folder, images) -> np.ndarray:
    caption_sheet.draw_caption_sheet(images, folder / "captions.png")
    return np.asarray(Image.open(folder / "captions.png").convert("RGB"))


def test_the_first_12_images_are_drawn_in_two_columns(tmp_path, images):
    sheet = draw(tmp_path, images)
    assert sheet.shape[1] > 1000
    np.testing.assert_array_equal(sheet, draw(tmp_path, images[:12]))
    assert sheet.shape[0] == 6 * draw(tmp_path, images[:2]).shape[0]


@pytest.mark.parametrize("change", [{"caption": "another"}, {"references": ("the ground 1",)}])
def test_captions_and_references_are_drawn(tmp_path, images, change):
    sheet = draw(tmp_path, images[:2])
    changed = draw(tmp_path, [images[0], dataclasses.replace(images[1], **change)])
    middle = sheet.shape[1] // 2
    np.testing.assert_array_equal(changed[:, :middle], sheet[:, :middle])
    assert (changed != sheet).any()


def test_an_image_that_cannot_be_read_is_named(tmp_path, images):
    (tmp_path / "0.png").write_bytes(b"no image")
    broken = draw(tmp_path, images[:1])
    (tmp_path / "0.png").unlink()
    np.testing.assert_array_equal(draw(tmp_path, images[:1]), broken)
