"""Limits on the images of a request, checked before any of them is decoded."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image

from imcap.serving import rest
from imcap.serving.server.limits import Limits

_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")  # Those that models decode.
_TOO_MANY = 1 << 62  # More than Pillow itself opens.


def check_images(images: Sequence[bytes], limits: Limits, where: str) -> None:
    """Refuses images that would take too much memory or time.

    Args:
      images: encoded; what is not an image is left to the model, which says what it is instead.
      limits: the server's.
      where: how a message begins; `{}` stands for the image's index.

    Raises:
      RequestError: 400, one is too large.
    """
    for index, image in enumerate(images):
        if len(image) > limits.image_bytes:
            problem = f"a file of more than {limits.max_image_mib} MiB (--max_image_mib)"
        elif declared_pixels(image) > limits.max_image_megapixels * 1_000_000:
            limit = limits.max_image_megapixels
            problem = f"declares more than {limit} million pixels (--max_image_megapixels)"
        else:
            continue
        raise rest.RequestError(400, f"{where.format(index)}{problem}")


def declared_pixels(image: bytes) -> int:
    """Returns how many pixels an image file's header declares; 0 if it has no header."""
    try:
        with Image.open(io.BytesIO(image), formats=_FORMATS) as opened:
            return opened.width * opened.height
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return _TOO_MANY
    except Exception:  # Pillow raises errors of many kinds on broken headers.
        return 0
