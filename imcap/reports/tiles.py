"""An image under its caption with a tile per word, as pixels: for TensorBoard and the like.

Pillow draws them in milliseconds, where a figure of matplotlib takes a good part of a second.
"""

from __future__ import annotations

import textwrap

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from imcap.reports import plots

_SIDE = 160  # Pixels of a tile's longer side.
_LINE, _LETTER = 18, 8  # Pixels of a line's height and, about, of a letter's width.
_COLUMNS = 6


def draw_tiles(image: np.ndarray, caption: str, weights: np.ndarray | None = None) -> np.ndarray:
    """Draws an image with its caption, then for each word the attention weights over the image.

    Args:
      image: uint8 [height, width, 3], RGB.
      caption: words separated by spaces.
      weights: float [T, rows, columns] of the first T words, not negative; None: the image alone.

    Returns:
      uint8 [height, width, 3].
    """
    tile = _resize(image)
    none = np.zeros((0, *tile.shape), tile.dtype)
    maps = none if weights is None or not len(weights) else plots.blend_attention(tile, weights)
    labels = ["", *caption.split()]
    columns = min(_COLUMNS, len(maps) + 1)
    height, width = tile.shape[:2]
    lines = textwrap.wrap(caption, columns * width // _LETTER) or ["(empty caption)"]
    top, rows = _LINE * len(lines), -(-(len(maps) + 1) // columns)
    canvas = Image.new("RGB", (columns * width, top + rows * (height + _LINE)), "white")
    for number, line in enumerate(lines):
        _write(canvas, line, 0, number * _LINE)
    for number, (pixels, label) in enumerate(zip([tile, *maps], labels, strict=False)):
        x, y = number % columns * width, top + number // columns * (height + _LINE)
        _write(canvas, label, x, y)
        canvas.paste(Image.fromarray(pixels), (x, y + _LINE))
    return np.asarray(canvas)


def _resize(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    scale = _SIDE / max(height, width)
    size = max(1, round(scale * width)), max(1, round(scale * height))
    return np.asarray(Image.fromarray(image).resize(size))


def _write(canvas: Image.Image, line: str, x: int, y: int) -> None:
    font = ImageFont.load_default(_LINE - 4)
    ImageDraw.Draw(canvas).text((x + 2, y), line, fill="black", font=font)
