"""The images of the web page: what is accepted, how it is shown, and the samples."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import io
import os
import random
import warnings

from PIL import ExifTags, Image, ImageOps

from imcap import filesystem
from imcap.datasets import scenes
from imcap.errors import UserError, one_line
from imcap.reports import thumbnails

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")
MAX_PIXELS = 50_000_000  # Of an image: it takes 12 bytes a pixel while it is resized.
SHOWN_SIDE = 640  # Pixels.
_DRAWN_SAMPLES = 6
_SAMPLE_SEED = 7


@dataclasses.dataclass(frozen=True)
class PageImage:
    """An image that a visitor gave.

    Attributes:
      name: of its file.
      content: the file, or an upright copy of one that the models would not turn upright.
      shown: a JPEG of it, upright, at most SHOWN_SIDE pixels a side.
    """

    name: str
    content: bytes = dataclasses.field(repr=False)
    shown: bytes = dataclasses.field(repr=False)

    @functools.cached_property
    def digest(self) -> str:
        """Stands for the content."""
        return hashlib.sha256(self.content).hexdigest()

    def load(self, side: int) -> Image.Image:
        """Returns the image in RGB, upright, at most `side` pixels a side."""
        return thumbnails.read_thumbnail(io.BytesIO(self.shown), side)


def read_image(name: str, content: bytes) -> PageImage:
    """Checks a file and prepares it for the page.

    Raises:
      UserError: it is not an image that the models read, is corrupted, or has too many pixels.
    """
    if not content:
        raise UserError(f"{name}: the file is empty")
    if content[:256].lstrip().lower().startswith((b"<!doctype html", b"<html")):
        raise UserError(f"{name}: this is a web page, not an image")
    _check_pixels(name, content)
    try:
        shown = thumbnails.read_thumbnail(io.BytesIO(content), SHOWN_SIDE)
    except thumbnails.ERRORS as error:
        raise UserError(f"{name}: the image is corrupted and cannot be decoded") from error
    out = io.BytesIO()
    shown.save(out, "JPEG", quality=88)
    return PageImage(name, _upright(content), out.getvalue())


def _upright(content: bytes) -> bytes:
    """Returns a file whose pixels are upright: the models read the EXIF tag of JPEGs only."""
    with Image.open(io.BytesIO(content)) as image:
        if image.format == "JPEG" or image.getexif().get(ExifTags.Base.Orientation, 1) == 1:
            return content
        out = io.BytesIO()
        ImageOps.exif_transpose(image).convert("RGB").save(out, "PNG", compress_level=1)
    return out.getvalue()


def _check_pixels(name: str, content: bytes) -> None:
    """Reads an image's header; raises UserError if there is none, or the image is too large."""
    limit = f"at most {MAX_PIXELS // 1_000_000} million are accepted"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                width, height = image.size
    except Image.DecompressionBombError as error:
        raise UserError(f"{name}: the image has too many pixels; {limit}") from error
    except thumbnails.ERRORS as error:
        known = "JPEG, PNG, GIF, BMP or still WebP"
        raise UserError(f"{name}: not an image that can be read ({known})") from error
    if width * height > MAX_PIXELS:
        millions = width * height / 1e6
        raise UserError(f"{name}: the image has {millions:.0f} million pixels; {limit}")


def samples(folder: str = "") -> dict[str, bytes]:
    """Returns sample images by name: the images in a folder, or, without one, drawn shapes.

    Raises:
      UserError: the folder holds no image or cannot be read.
    """
    return _read_samples(folder) if folder else _draw_samples()


def _read_samples(folder: str) -> dict[str, bytes]:
    try:
        names = sorted(name for name in os.listdir(folder) if filesystem.is_image(name))
        found = {name: filesystem.read_bytes(os.path.join(folder, name)) for name in names}
    except OSError as error:
        raise UserError(f"--samples={folder}: {one_line(error)}") from error
    if not found:
        raise UserError(f"--samples={folder}: no image in this folder")
    return found


def _draw_samples() -> dict[str, bytes]:
    pairs, _ = scenes.combinations(0)
    found = {}
    for index in range(_DRAWN_SAMPLES):
        rng = random.Random(f"{_SAMPLE_SEED}/{index}")
        scene = scenes.make_scene(rng, pairs, pairs[index])
        shapes = " and ".join(shape.words() for shape in scene.shapes)
        found[f"{index + 1}: {shapes}"] = scenes.draw(scene)
    return found
