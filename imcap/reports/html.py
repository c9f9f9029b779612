"""What imcap's HTML pages share: templates, whole-or-nothing writing and embedded photos."""

from __future__ import annotations

import base64
import os
import pathlib
from io import BytesIO

import jinja2
from markupsafe import Markup
from PIL import Image, ImageOps

from imcap import filesystem

_TEMPLATES = pathlib.Path(__file__).with_name("templates")
_JPEG_QUALITY = 65


def environment() -> jinja2.Environment:
    """Returns the templates, with escaping on and undefined names an error."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def asset(name: str) -> Markup:
    """Returns a style sheet or script of the project's own: the only text that is not escaped."""
    return Markup((_TEMPLATES / name).read_text(encoding="utf-8").strip())


def dump(page: jinja2.environment.TemplateStream, path: pathlib.Path) -> None:
    """Writes a rendered template under a temporary name and renames it when complete."""
    page.enable_buffering(64)
    with (
        filesystem.replacing(os.fspath(path)) as temporary,
        open(temporary, "w", encoding="utf-8", errors="replace", newline="\n") as out,
    ):
        page.dump(out)


def photo(path: str | os.PathLike[str] | None, side: int) -> tuple[str | None, str]:
    """Returns a data URI of the photo, or None and the reason why there is none."""
    if path is None:
        return None, "no photo given"
    name = os.path.basename(os.fspath(path))
    try:
        return "data:image/jpeg;base64," + _thumbnail(path, side), ""
    except FileNotFoundError:
        return None, f"{name}: no such file"
    except Image.UnidentifiedImageError:
        return None, f"{name}: not an image that can be read"
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return None, f"{name}: {error.strerror if getattr(error, 'strerror', None) else error}"


def _thumbnail(path: str | os.PathLike[str], side: int) -> str:
    """Returns the base64 JPEG of the photo, upright, at most `side` pixels wide and high."""
    with Image.open(path) as image:
        # A JPEG decodes straight to a half, quarter or eighth: much faster for camera photos.
        image.draft("RGB", (2 * side, 2 * side))
        upright = ImageOps.exif_transpose(image).convert("RGB")
    upright.thumbnail((side, side), Image.Resampling.LANCZOS)
    out = BytesIO()
    upright.save(out, "JPEG", quality=_JPEG_QUALITY, optimize=True)
    return base64.b64encode(out.getvalue()).decode("ascii")
