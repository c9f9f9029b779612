"""Plots of a training's history and of attention weights.

Figures are drawn by Agg through matplotlib's objects, never through pyplot, whose state is global:
this is safe in any thread, without a display, and together with a caller's own plots.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from imcap import filesystem, metrics
from imcap.errors import UserError

_LOSSES = {"loss": "train", "dev_loss": "dev"}
_REWARDS = {"reward": "mean of sampled training captions"}
_GRID_COLUMNS = 5
_CELL, _TITLE, _GAP = 250, 36, 12  # Pixels of a map's width, its title's height, and between maps.
_COLOURS, _OPACITY = "inferno", 0.6  # Of attention weights over an image.
_DOTS_PER_INCH = 110
_LARGEST = 1e30  # Matplotlib's axes overflow beyond; only a training that diverges gets there.


def draw_history(csv_path: str | os.PathLike[str], png_path: str | os.PathLike[str]) -> None:
    """Plots a training's losses or rewards (left) and dev scores (right) over its steps.

    Cells that are empty, NaN, infinite or beyond 1e30 are left out, and so is a row without a step.

    Args:
      csv_path: history.csv with the columns `step`, `loss` and `dev_loss`; where `reward` has
        values it is drawn instead of the losses; of the metrics' columns (`dev_cider` and the like)
        those that it has are drawn; others are ignored.
      png_path: of the plot, replaced as a whole.

    Raises:
      UserError: the file is missing, lacks a required column, a cell is not a number, or
        the plot cannot be written.
    """
    labels = {f"dev_{key}": metrics.label(key) for key in metrics.METRICS}
    columns = _read_history(csv_path, ("step", *_LOSSES), (*_REWARDS, *labels))
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    training, scores = figure.subplots(1, 2)
    if np.isfinite(columns["reward"]).any():
        _draw_curves(training, "Reward", columns, _REWARDS)
    else:
        _draw_curves(training, "Loss", columns, _LOSSES)
    best = {
        name: f"{label}, best {np.nanmax(columns[name]):.3f}"
        for name, label in labels.items()
        if np.isfinite(columns[name]).any()
    }
    _draw_curves(scores, "Dev scores", columns, best)
    save_figure(figure, png_path)


def draw_attention(
    image: np.ndarray,
    words: Sequence[str],
    weights: np.ndarray,
    png_path: str | os.PathLike[str],
) -> None:
    """Draws an image, then for each word of a caption the attention weights over the image.

    Large weights are bright; each map is scaled to its own largest weight. As in Xu et al., 2015,
    "Show, Attend and Tell".

    Args:
      image: uint8 [height, width, 3], RGB.
      words: the T words of the caption.
      weights: float [T, rows, columns], not negative; the grid covers the whole image.
      png_path: of the plot, replaced as a whole.

    Raises:
      ValueError: shapes or types are not as above, or a weight is negative or not finite.
      UserError: the plot cannot be written.
    """
    image, weights = np.asarray(image), np.asarray(weights)
    _check_attention(image, words, weights)
    image = _fit(image)
    maps = blend_attention(image, weights) if len(words) else ()
    _write_grid([image, *maps], ["", *words], png_path)


def _fit(image: np.ndarray) -> np.ndarray:
    """Returns an image as wide as a cell of the grid, or three times as high."""
    height, width = image.shape[:2]
    scale = min(_CELL / width, 3 * _CELL / height)
    size = max(1, round(scale * width)), max(1, round(scale * height))
    return np.asarray(Image.fromarray(image).resize(size))


def _write_grid(
    images: Sequence[np.ndarray], titles: Sequence[str], png_path: str | os.PathLike[str]
) -> None:
    """Writes images of one size, uint8 [height, width, 3], with a title above each.

    They are the pixels of one canvas: with axes for each, a caption of ten words takes half a
    second.
    """
    height, width = images[0].shape[:2]
    columns = min(_GRID_COLUMNS, len(images))
    down, across = _TITLE + height, _GAP + _CELL
    size = down * math.ceil(len(images) / columns) + _GAP, across * columns + _GAP
    canvas = np.full((*size, 3), 255, np.uint8)
    figure = Figure(figsize=(size[1] / _DOTS_PER_INCH, size[0] / _DOTS_PER_INCH))
    for number, (pixels, title) in enumerate(zip(images, titles, strict=True)):
        top, left = number // columns * down + _TITLE, number % columns * across + _GAP
        x, y = (left + _CELL / 2) / size[1], 1 - (top - _TITLE / 4) / size[0]
        figure.text(x, y, title, ha="center", fontsize=11, parse_math=False)
        left += (_CELL - width) // 2
        canvas[top : top + height, left : left + width] = pixels
    figure.figimage(canvas)
    save_figure(figure, png_path)


def blend_attention(image: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns an image under each word's attention weights, as `draw_attention` shows them.

    Args:
      image: uint8 [height, width, 3], RGB.
      weights: float [T, rows, columns], not negative; the grid covers the whole image.

    Returns:
      uint8 [T, height, width, 3].
    """
    maps = np.stack([_upsample(weight, image.shape[:2]) for weight in weights])
    colours = 255 * colormaps[_COLOURS](maps)[..., :3]
    return (_OPACITY * colours + (1 - _OPACITY) * image).astype(np.uint8)


def _read_history(
    path: str | os.PathLike[str], required: Sequence[str], optional: Sequence[str]
) -> dict[str, np.ndarray]:
    """Returns the named columns, float64 [n] in the file's order; NaN for empty or absent cells."""
    names = (*required, *optional)
    try:
        with open(path, encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if missing := [name for name in required if name not in (reader.fieldnames or ())]:
                raise UserError(f"{path}: has no column {missing[0]!r}; is it a history.csv?")
            rows = [
                [_cell(path, reader.line_num, name, row.get(name)) for name in names]
                for row in reader
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot be read as a history.csv: {reason}") from error
    table = np.array([row for row in rows if not math.isnan(row[0])]).reshape(-1, len(names))
    return dict(zip(names, table.T, strict=True))


def _cell(path: str | os.PathLike[str], line: int, name: str, text: str | None) -> float:
    """Returns a cell's number, or NaN if it is empty, absent (None) or not finite."""
    try:
        value = float(text or "nan")
    except ValueError:
        raise UserError(
            f"{path}: line {line}: column {name!r} must be a number or empty, not {text!r}"
        ) from None
    return value if abs(value) <= _LARGEST else math.nan


def _draw_curves(
    axes: Axes, title: str, columns: Mapping[str, np.ndarray], labels: Mapping[str, str]
) -> None:
    """Draws the named columns over the steps; a curve connects the values that exist."""
    for name, label in labels.items():
        finite = np.isfinite(columns[name])
        marker = "o" if np.count_nonzero(finite) < 30 else None
        if finite.any():
            axes.plot(
                columns["step"][finite], columns[name][finite], marker=marker, ms=3, label=label
            )
    axes.set(title=title, xlabel="step")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axes.grid(alpha=0.3)
    if axes.lines:
        # Below the curves, so that it covers none.
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3)
    else:
        axes.text(0.5, 0.5, "no values", ha="center", va="center", transform=axes.transAxes)


def _check_attention(image: np.ndarray, words: Sequence[str], weights: np.ndarray) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(
            f"image must be uint8 [height, width, 3], not {image.dtype} {list(image.shape)}"
        )
    if weights.ndim != 3 or len(weights) != len(words) or 0 in weights.shape[1:]:
        raise ValueError(
            f"weights must be [{len(words)} words, rows, columns], not {list(weights.shape)}"
        )
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError("weights must be finite and not negative")


def _upsample(weight: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns one map, float32 [height, width] in [0, 1], enlarged to the image's size."""
    largest = weight.max()
    scaled = (weight / largest if largest > 0 else weight).astype(np.float32)
    resized = Image.fromarray(scaled).resize(size[::-1], Image.Resampling.BICUBIC)
    return np.asarray(resized).clip(0, 1)


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Writes a PNG, replaced as a whole: whoever shows it never reads half a file.

    Raises:
      UserError: it cannot be written.
    """
    figure.set_dpi(_DOTS_PER_INCH)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # `savefig` would draw everything twice, and compress for four times as long.
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    path = os.fspath(path)
    with filesystem.writing_to(path), filesystem.replacing(path) as temporary:
        image.save(temporary, format="png", compress_level=3)
