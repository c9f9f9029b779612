"""Coloured shapes: a data set that is drawn when it is read, so that nothing is downloaded.

Scenes of one to three shapes with sizes and spatial relations, as JPEGs with five captions each.
The test split measures compositional generalization: its pairs of colour and shape are in no other
split, while each colour and each shape is.
"""

from __future__ import annotations

import dataclasses
import json
import os
import random
import re
from collections.abc import Iterator
from typing import Any

from imcap import filesystem
from imcap.datasets import scenes, splits
from imcap.datasets.base import CaptionedImage, Problems, Reader, Settings
from imcap.errors import UserError

MARKER, IMAGES, CAPTIONS = "shapes.json", "images", "captions.jsonl"
_DRAWN = re.compile(r"\.?(train|dev|test)-\d{5,}\.jpg(\.\d+)?")
_VERSION = 1  # Raise it when the same parameters give other bytes.


@dataclasses.dataclass(frozen=True)
class _Example:
    name: str
    split: str
    scene: scenes.Scene
    captions: tuple[str, ...]


class Shapes(Reader):
    """Draws the images and reads them.

    `dir` gets `images/{split}-00000.jpg` (the file name is the image id), `captions.jsonl` (the
    same for other tools; the `table` reader reads it) and the marker `shapes.json`. An interrupted
    drawing is resumed; a data set of other parameters is replaced.

    Settings: `dir`; `size` (number of images; the train split has every colour and shape from six
    train images on), `ratios`, `seed`.
    """

    draws = True

    def read(self, problems: Problems) -> Iterator[CaptionedImage]:
        """Yields the images, train, dev, test, after drawing those that are not there yet.

        Raises:
          UserError: for a size below 1, or a folder with images of another origin.
        """
        folder, parameters = self._folder(), _parameters(self.settings)
        _draw_all(folder, parameters)
        return _rows(folder, parameters)

    def first(self) -> CaptionedImage:
        """Returns the first image; its file is there after `read` only."""
        folder, parameters = self._folder(), _parameters(self.settings)
        _own_marker(folder)
        return next(_rows(folder, parameters))

    def count(self) -> dict[str, int]:
        """Returns the number of images by split; draws none."""
        return {split: n for split, n in _counts(_parameters(self.settings)).items() if n}

    def _folder(self) -> str:
        if not self.settings.dir:
            raise UserError("config.dataset.dir: not set; name the folder to draw the shapes into")
        return self.settings.dir


def _rows(folder: str, parameters: dict[str, Any]) -> Iterator[CaptionedImage]:
    for example in _examples(parameters):
        path = os.path.join(folder, IMAGES, example.name)
        yield CaptionedImage(example.name, path, example.captions, example.split)


def _parameters(settings: Settings) -> dict[str, Any]:
    size = settings.size
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise UserError(f"config.dataset.size: {size!r} is not a number of images above 0")
    return {
        "made_by": "imcap shapes",
        "version": _VERSION,
        "seed": int(settings.seed),
        "size": size,
        "ratios": list(splits.ratios(settings.ratios)),
    }


def _counts(parameters: dict[str, Any]) -> dict[str, int]:
    size = parameters["size"]
    train, dev, _ = (round(size * ratio) for ratio in parameters["ratios"])
    dev = min(dev, size - train)
    return {"train": train, "dev": dev, "test": size - train - dev}


def _name(split: str, index: int) -> str:
    return f"{split}-{index:05d}.jpg"


def _examples(parameters: dict[str, Any]) -> Iterator[_Example]:
    """Yields the scenes; each has its own random stream, so each can be made alone."""
    seed = parameters["seed"]
    known, unknown = scenes.combinations(seed)
    for split, count in _counts(parameters).items():
        pairs = unknown if split == "test" else known
        for index in range(count):
            rng = random.Random(f"{seed}/{split}/{index}")
            scene = scenes.make_scene(rng, pairs, pairs[index % len(pairs)])
            yield _Example(_name(split, index), split, scene, scenes.describe(rng, scene))


def _draw_all(folder: str, parameters: dict[str, Any]) -> None:
    """Makes the folder hold the images of these parameters, drawing those that it lacks."""
    marker, images = _own_marker(folder), os.path.join(folder, IMAGES)
    try:
        there = _names(images)
        os.makedirs(images, exist_ok=True)
        if marker and marker["parameters"] != parameters:
            there -= _remove_drawn(images, there)
        if not _is_complete(marker, parameters, there):
            _draw_missing(folder, parameters, there)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror})") from error


def _own_marker(folder: str) -> dict[str, Any] | None:
    """Returns the marker of a folder, None for a new one.

    Raises:
      UserError: the folder has images or captions of another origin.
    """
    marker = _read_marker(folder)
    has_captions = os.path.exists(os.path.join(folder, CAPTIONS))
    if marker is None and (has_captions or _names(os.path.join(folder, IMAGES))):
        raise UserError(
            f"{folder}: this folder has files of another data set; name another folder with"
            " config.dataset.dir"
        )
    return marker


def _names(images: str) -> set[str]:
    try:
        return set(os.listdir(images)) if os.path.isdir(images) else set()
    except OSError as error:
        raise UserError(f"{images}: cannot be read ({error.strerror})") from error


def _remove_drawn(images: str, there: set[str]) -> set[str]:
    drawn = {name for name in there if _DRAWN.fullmatch(name)}
    for name in drawn:
        os.remove(os.path.join(images, name))
    return drawn


def _is_complete(
    marker: dict[str, Any] | None, parameters: dict[str, Any], there: set[str]
) -> bool:
    if not marker or marker["parameters"] != parameters or marker.get("complete") is not True:
        return False
    counts = _counts(parameters).items()
    return all(_name(split, index) in there for split, count in counts for index in range(count))


def _draw_missing(folder: str, parameters: dict[str, Any], there: set[str]) -> None:
    # The marker is written first: it tells a later run that the images are this data set's.
    _write_marker(folder, parameters, complete=False)
    lines = []
    for example in _examples(parameters):
        name = f"{IMAGES}/{example.name}"
        if example.name not in there:
            _write_image(os.path.join(folder, name), scenes.draw(example.scene))
        row = {"image": name, "split": example.split, "caption": example.captions}
        lines.append(json.dumps(row) + "\n")
    filesystem.write_text(os.path.join(folder, CAPTIONS), "".join(lines))
    _write_marker(folder, parameters, complete=True)


def _read_marker(folder: str) -> dict[str, Any] | None:
    try:
        with open(os.path.join(folder, MARKER), "rb") as file:
            marker = json.load(file)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError):
        marker = {}
    mine = isinstance(marker, dict) and isinstance(marker.get("parameters"), dict)
    return marker if mine and marker["parameters"].get("made_by") == "imcap shapes" else None


def _write_marker(folder: str, parameters: dict[str, Any], complete: bool) -> None:
    marker = {"parameters": parameters, "complete": complete}
    filesystem.write_json(os.path.join(folder, MARKER), marker, indent=2)


def _write_image(path: str, content: bytes) -> None:
    # Not durable: drawing images again takes less time than syncing each of them.
    with filesystem.replacing(path, durable=False) as temporary, open(temporary, "wb") as file:
        file.write(content)
