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

DESCRIPTION, IMAGES, CAPTIONS = "shapes.json", "images", "captions.jsonl"
# What a drawing leaves in `images`, unfinished files of one that was killed included.
_DRAWN = re.compile(
    rf"({re.escape(filesystem.TEMPORARY)}[0-9a-f]+-)?(train|dev|test)-\d{{5,}}\.jpg"
)
_VERSION = 1  # Raise it when the same parameters give other bytes.


@dataclasses.dataclass(frozen=True)
class _Drawing:
    name: str
    split: str
    scene: scenes.Scene
    captions: tuple[str, ...]


class Shapes(Reader):
    """Draws the images and reads them.

    `dir` gets `images/{split}-00000.jpg` (the file name is the image id), `captions.jsonl` (the
    same for other tools; the `table` reader reads it) and `shapes.json`, which describes the data
    set. An interrupted drawing is resumed; a data set of other parameters is replaced.

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
        return _captioned_images(folder, parameters)

    def first(self) -> CaptionedImage:
        """Returns the first image; its file is there after `read` only."""
        folder, parameters = self._folder(), _parameters(self.settings)
        _own_description(folder)
        return next(_captioned_images(folder, parameters))

    def count(self) -> dict[str, int]:
        """Returns the number of images by split; draws none."""
        return {split: n for split, n in _counts(_parameters(self.settings)).items() if n}

    def _folder(self) -> str:
        if not self.settings.dir:
            raise UserError("config.dataset.dir: not set; name the folder to draw the shapes into")
        return self.settings.dir


def _captioned_images(folder: str, parameters: dict[str, Any]) -> Iterator[CaptionedImage]:
    for drawing in _drawings(parameters):
        path = os.path.join(folder, IMAGES, drawing.name)
        yield CaptionedImage(drawing.name, path, drawing.captions, drawing.split)


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


def _drawings(parameters: dict[str, Any]) -> Iterator[_Drawing]:
    """Yields the scenes; each has its own random stream, so each can be made alone."""
    seed = parameters["seed"]
    known, held_out = scenes.combinations(seed)
    for split, count in _counts(parameters).items():
        pairs = held_out if split == "test" else known
        for index in range(count):
            rng = random.Random(f"{seed}/{split}/{index}")
            scene = scenes.make_scene(rng, pairs, pairs[index % len(pairs)])
            yield _Drawing(_name(split, index), split, scene, scenes.describe(rng, scene))


def _draw_all(folder: str, parameters: dict[str, Any]) -> None:
    """Makes the folder hold the images of these parameters, drawing those that it lacks."""
    description, images = _own_description(folder), os.path.join(folder, IMAGES)
    try:
        there = _names(images)
        os.makedirs(images, exist_ok=True)
        if description and description["parameters"] != parameters:
            there -= _remove_drawn(images, there)
        if not _is_complete(description, parameters, there):
            _draw_missing(folder, parameters, there)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror})") from error


def _own_description(folder: str) -> dict[str, Any] | None:
    """Returns what `shapes.json` in a folder holds, None for a new folder.

    Raises:
      UserError: the folder has images or captions of another origin.
    """
    description = _read_description(folder)
    has_captions = os.path.exists(os.path.join(folder, CAPTIONS))
    if description is None and (has_captions or _names(os.path.join(folder, IMAGES))):
        raise UserError(
            f"{folder}: this folder has files of another data set; name another folder with"
            " config.dataset.dir"
        )
    return description


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
    description: dict[str, Any] | None, parameters: dict[str, Any], there: set[str]
) -> bool:
    if description != {"parameters": parameters, "complete": True}:
        return False
    counts = _counts(parameters).items()
    return all(_name(split, index) in there for split, count in counts for index in range(count))


def _draw_missing(folder: str, parameters: dict[str, Any], there: set[str]) -> None:
    # The description is written first: it tells a later run that the images are this data set's.
    _write_description(folder, parameters, complete=False)
    lines = []
    for drawing in _drawings(parameters):
        name = f"{IMAGES}/{drawing.name}"
        if drawing.name not in there:
            _write_image(os.path.join(folder, name), scenes.draw(drawing.scene))
        row = {"image": name, "split": drawing.split, "caption": drawing.captions}
        lines.append(json.dumps(row) + "\n")
    filesystem.write_text(os.path.join(folder, CAPTIONS), "".join(lines))
    _write_description(folder, parameters, complete=True)


def _read_description(folder: str) -> dict[str, Any] | None:
    try:
        with open(os.path.join(folder, DESCRIPTION), "rb") as file:
            description = json.load(file)
    except (OSError, ValueError, RecursionError):
        return None
    parameters = description.get("parameters") if isinstance(description, dict) else None
    mine = isinstance(parameters, dict) and parameters.get("made_by") == "imcap shapes"
    return description if mine else None


def _write_description(folder: str, parameters: dict[str, Any], complete: bool) -> None:
    description = {"parameters": parameters, "complete": complete}
    filesystem.write_json(os.path.join(folder, DESCRIPTION), description, indent=2)


def _write_image(path: str, content: bytes) -> None:
    # Not durable: drawing images again takes less time than syncing each of them.
    with filesystem.replacing(path, durable=False) as temporary, open(temporary, "wb") as file:
        file.write(content)
