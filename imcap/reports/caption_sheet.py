"""A figure of images with their predicted and reference captions."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from imcap.reports import plots, thumbnails
from imcap.reports.report import ReportImage

MAX_IMAGES = 12
_COLUMNS = 2
_REFERENCES = 5  # Of an image, at most.
_WIDTH = 54  # Characters in a line.


def draw_caption_sheet(images: Sequence[ReportImage], png_path: str | os.PathLike[str]) -> None:
    """Draws the first MAX_IMAGES images, each with its predicted caption over its references.

    In place of an image that cannot be read stands its file's name.

    Args:
      images: at least one.
      png_path: of the figure, replaced as a whole.

    Raises:
      UserError: the figure cannot be written.
    """
    images = images[:MAX_IMAGES]
    columns = min(_COLUMNS, len(images))
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(6.4 * columns, 2.2 * rows), layout="constrained")
    ratios = [1, 2] * columns
    grid = figure.subplots(rows, 2 * columns, squeeze=False, width_ratios=ratios).ravel()
    for axes in grid:
        axes.set_axis_off()
    for image, left, right in zip(images, grid[::2], grid[1::2], strict=False):
        _draw_image(left, image.image_path)
        _write(right, image)
    plots.save_figure(figure, png_path)


def _draw_image(axes: Axes, path: str | os.PathLike[str]) -> None:
    try:
        axes.imshow(thumbnails.load_thumbnail(path))
    except thumbnails.ERRORS:
        name = textwrap.fill(f"{os.path.basename(path)} cannot be read", 24)
        axes.text(0.5, 0.5, name, ha="center", va="center", fontsize=8, parse_math=False)


def _write(axes: Axes, image: ReportImage) -> None:
    caption = textwrap.fill(image.caption or "(empty caption)", _WIDTH)
    references = [
        textwrap.fill(reference, _WIDTH, initial_indent="- ", subsequent_indent="  ", max_lines=2)
        for reference in image.references[:_REFERENCES]
    ]
    below = "\n".join(["\n" * caption.count("\n"), *references])
    # The layout is that of the images, however long the captions are.
    common: dict[str, Any] = {
        "va": "top",
        "in_layout": False,
        "parse_math": False,
        "transform": axes.transAxes,
    }
    axes.text(0, 1, caption, fontsize=9, fontweight="bold", **common)
    axes.text(0, 0.97, below, fontsize=8, color="0.35", **common)
