"""Which split an image belongs to: by published lists, or by a seeded ratio."""

from __future__ import annotations

import dataclasses
import functools
import heapq
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from absl import logging

from imcap import filesystem, hashing
from imcap.datasets import text_rows
from imcap.datasets.base import CaptionedImage, Problems, Settings
from imcap.errors import UserError

SPLITS = ("train", "dev", "test")
HOLDOUT = "holdout"
_HOLDOUT_SALT = "look/"  # Kept as it is: another text would hold out other images.
_ALIASES = {
    "training": "train",
    "val": "dev",
    "valid": "dev",
    "validation": "dev",
    "testing": "test",
}
# Shards are named after their split, so a split's name is a plain word.
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")


def canonical(name: str) -> str:
    """Returns a source's split name in lower case, with `val` and its other names as `dev`.

    The result is empty where no file could be named after the split.
    """
    name = name.strip().lower()
    return _ALIASES.get(name, name) if _NAME.fullmatch(name) else ""


def without_extension(name: str) -> str:
    """Returns an image's name as lists of bare ids have it; a name that is no image's unchanged."""
    return os.path.splitext(name)[0] if filesystem.is_image(name) else name


class Assignment(Protocol):
    """Says which split an image belongs to."""

    def split_of(self, image_id: str) -> str | None:
        """Returns the split, or None for an image that is in no split list."""

    def listed(self) -> Iterable[str]:
        """Returns the names in the split lists (none for a ratio)."""


class RatioSplit:
    """Splits by a stable hash: an image stays in its split whatever other images come or go."""

    def __init__(self, ratios: Sequence[float], seed: int) -> None:
        self._ratios = dict(zip(SPLITS, ratios, strict=True))
        self._seed = seed

    def split_of(self, image_id: str) -> str:
        """Returns the split that the image's hash falls into."""
        fraction, last = hashing.stable_fraction(self._seed, image_id), SPLITS[0]
        for split, ratio in self._ratios.items():
            if ratio > 0 and fraction < ratio:
                return split
            fraction -= ratio
            last = split if ratio > 0 else last
        return last  # The ratios' sum can be slightly below the fraction, by rounding.

    def listed(self) -> tuple[str, ...]:
        """Returns no names: a ratio has no lists."""
        return ()


class ListedSplit:
    """Splits by published lists, one file name (or bare id) per line.

    An image that several lists name goes to the last of train, dev, test: dev and test keep all
    their images, and none of these is trained on.
    """

    def __init__(self, lists: Mapping[str, str], problems: Problems) -> None:
        self._splits: dict[str, str] = {}
        for split in (split for split in SPLITS if split in lists):
            for number, line in text_rows.read_lines(lists[split], problems):
                name = line.strip()
                if self._splits.get(name, split) != split:
                    problems.add(
                        "images in two split lists, not used for training",
                        f"{name}, {lists[split]}, line {number}",
                    )
                self._splits[name] = split

    def split_of(self, image_id: str) -> str | None:
        """Returns the split whose list names the image, or None."""
        return self._splits.get(image_id) or self._splits.get(without_extension(image_id))

    def listed(self) -> Iterable[str]:
        """Returns the listed names, in the lists' order."""
        return self._splits


class FileSplits:
    """The split of a row: what its column says, else the names of the files, else a ratio.

    The names count where each file, or a folder that it is in, begins with a split's name
    (`train-00000.tar`, `val/00000.tar`) and there are several splits.
    """

    def __init__(self, settings: Settings, column: str, paths: Sequence[str], source: str) -> None:
        """`column`: of the split, may be empty; `paths`: the files; `source`: for messages."""
        self._has_column = bool(column)
        named = {path: _split_in_name(path, settings.dir) for path in paths}
        self._named = named if all(named.values()) and len(set(named.values())) > 1 else {}
        if self._named and not column:
            log_once(f"{source}: split by the names of the files")
        elif not column:
            self._ratio = ratio_split(settings, source)

    def split_of(self, image_id: str, path: str, value: Any) -> str:
        """Returns the split of an image in the file `path`; `value` is its column's.

        The result is empty where the column has no usable name.
        """
        if self._has_column:
            return canonical(text_rows.clean(value))
        return self._named.get(path) or self._ratio.split_of(image_id)


def _split_in_name(path: str, folder: str) -> str:
    names = reversed(filesystem.relative_to(path, folder).lower().split("/"))
    words = (re.match("[a-z]*", name) for name in names)
    found = (canonical(word[0]) for word in words if word)
    return next((split for split in found if split in SPLITS), "")


def assignment(
    settings: Settings, lists: Mapping[str, Sequence[str]], problems: Problems
) -> Assignment:
    """Returns the split lists that lie in `settings.dir`, or else the seeded ratio split.

    Args:
      settings: `dir`, and `ratios` and `seed`, which are used where there are no lists.
      lists: for each split the file names that its list may have, relative to `dir`.
      problems: counts what is wrong with the lists.
    """
    found: dict[str, str] = {}
    for split, names in lists.items():
        paths = (os.path.join(settings.dir, name) for name in names)
        if path := next((path for path in paths if filesystem.is_file(path)), None):
            found[split] = path
    if not found:
        return ratio_split(settings, settings.dir)
    log_once(f"{settings.dir}: split by lists {', '.join(found.values())}")
    return ListedSplit(found, problems)


def ratio_split(settings: Settings, source: str) -> RatioSplit:
    """Returns the seeded split that `ratios` and `seed` describe, and logs it for `source`."""
    given, seed = ratios(settings.ratios), int(settings.seed)
    written = "/".join(f"{ratio:g}" for ratio in given)
    log_once(f"{source}: split by ratio {written} ({'/'.join(SPLITS)}) with seed {seed}")
    return RatioSplit(given, seed)


@functools.cache
def log_once(line: str) -> None:
    """Logs a line once in a process: the records job opens a data set several times."""
    logging.info("%s", line)


def ratios(value: Any) -> tuple[float, ...]:
    """Returns `config.dataset.ratios` as those of train, dev and test.

    Args:
      value: three numbers, or a mapping of split to number.

    Raises:
      UserError: unless they are three numbers that add up to 1.
    """
    try:
        given = [value.get(s, 0.0) for s in SPLITS] if hasattr(value, "get") else value
        found = tuple(float(ratio) for ratio in given)
    except (TypeError, ValueError):
        found = ()
    is_valid = len(found) == 3 and all(0 <= ratio <= 1 for ratio in found)
    if not is_valid or not math.isclose(sum(found), 1.0, abs_tol=1e-6):
        raise UserError(
            f"config.dataset.ratios: {value!r} is not three numbers for train, dev and test"
            " that add up to 1, such as (0.8, 0.1, 0.1)"
        )
    return found


def hold_out(images: Sequence[CaptionedImage], count: int, seed: int) -> list[CaptionedImage]:
    """Moves `count` images of the train split to the split `holdout`, chosen by hash.

    Raises:
      UserError: when the train split has fewer images than that.
    """
    train = [image.image_id for image in images if image.split == "train"]
    if not 0 <= count <= len(train):
        raise UserError(
            f"config.dataset.holdout: {count} images cannot be held out of the"
            f" {len(train)} in the train split"
        )
    rank = functools.cache(lambda name: hashing.stable_fraction(seed, _HOLDOUT_SALT + name))
    held = set(heapq.nsmallest(count, train, key=rank))
    return [
        dataclasses.replace(image, split=HOLDOUT) if image.image_id in held else image
        for image in images
    ]
