"""Small versions of images for reports and plots."""

from __future__ import annotations

import base64
import html.parser
import os
from io import BytesIO
from typing import IO

from PIL import Image, ImageOps

from imcap import filesystem

SIDE = 224  # Pixels.
_JPEG_QUALITY = 65
_JPEG_URI = "data:image/jpeg;base64,"
# What opening, decoding or converting a file that is no image can raise.
ERRORS = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)


def load_thumbnail(path: str | os.PathLike[str], side: int = SIDE) -> Image.Image:
    """Returns an image in RGB, upright by its EXIF orientation, at most `side` pixels a side.

    Raises:
      one of ERRORS: the file is missing or is not an image that can be read.
    """
    return read_thumbnail(BytesIO(filesystem.read_image(os.fspath(path))), side)


def read_thumbnail(file: IO[bytes], side: int = SIDE) -> Image.Image:
    """Like `load_thumbnail`, of an open file."""
    with Image.open(file) as image:
        # A JPEG decodes directly to a half, quarter or eighth: much faster for large images.
        image.draft("RGB", (2 * side, 2 * side))
        upright = ImageOps.exif_transpose(image).convert("RGB")
    upright.thumbnail((side, side), Image.Resampling.LANCZOS)
    return upright


def embed_thumbnail(path: str | os.PathLike[str], side: int = SIDE) -> tuple[str | None, str]:
    """Returns a thumbnail as a JPEG data URI, or None and the reason why there is none."""
    name = os.path.basename(os.fspath(path))
    try:
        thumbnail = load_thumbnail(path, side)
    except FileNotFoundError:
        return None, f"{name}: no such file"
    except Image.UnidentifiedImageError:
        return None, f"{name}: not an image that can be read"
    except ERRORS as error:
        return None, f"{name}: {getattr(error, 'strerror', None) or error}"
    return data_uri(thumbnail), ""


def read_embedded(report: str) -> dict[str, str]:
    """Returns image_id -> the data URI of the thumbnail that a report of ours holds.

    Args:
      report: path of a report.html; where there is none, no image is found.
    """
    if not os.path.isfile(report):
        return {}
    parser = _EmbeddedImages()
    parser.feed(filesystem.read_bytes(report).decode("utf-8", errors="replace"))
    return parser.found


class _EmbeddedImages(html.parser.HTMLParser):
    """Collects the images of a report's cards."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, str] = {}
        self._image_id = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "article":
            self._image_id = values.get("data-id") or ""
        elif tag == "img" and (uri := values.get("src") or "").startswith(_JPEG_URI):
            self.found[self._image_id] = uri


def data_uri(image: Image.Image) -> str:
    """Returns an image as a JPEG in a `data:` URI, for HTML that needs no other file."""
    out = BytesIO()
    image.save(out, "JPEG", quality=_JPEG_QUALITY, optimize=True)
    return _JPEG_URI + base64.b64encode(out.getvalue()).decode("ascii")
