"""Which split a photo belongs to: the published lists' word, or a seeded ratio."""

from __future__ import annotations

import dataclasses
import hashlib
import heapq
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from imcap import filesystem
from imcap.datasets import text_rows
from imcap.datasets.base import CaptionedImage, Problems
from imcap.errors import UserError

SPLITS = ("train", "dev", "test")
HOLDOUT = "look"
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
    """Returns a source's split name in lower case with `val` and the like as `dev`, or '' where
    no file could be named after it."""
    name = name.strip().lower()
    return _ALIASES.get(name, name) if _NAME.fullmatch(name) else ""


def stable_fraction(seed: int, image_id: str) -> float:
    """Returns a number in [0, 1) that depends on the seed and the image id alone."""
    digest = hashlib.blake2b(f"{seed}/{image_id}".encode(), digest_size=8, person=b"imcap split")
    return (int.from_bytes(digest.digest(), "big") >> 11) / 2.0**53


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
        fraction, last = stable_fraction(self._seed, image_id), SPLITS[0]
        for split, ratio in self._ratios.items():
            if ratio > 0 and fraction < ratio:
                return split
            fraction -= ratio
            last = split if ratio > 0 else last
        return last  # Rounding: the ratios' sum can be a hair below the fraction.

    def listed(self) -> tuple[str, ...]:
        """Returns nothing: a ratio lists no names."""
        return ()


class ListedSplit:
    """Splits by published lists, one file name (or bare id) per line.

    An image that several lists name goes to the last of train, dev, test: what is scored stays
    whole, and nothing scored is trained on.
    """

    def __init__(self, lists: Mapping[str, str], problems: Problems) -> None:
        self._splits: dict[str, str] = {}
        for split in (split for split in SPLITS if split in lists):
            for number, line in text_rows.read_lines(lists[split], problems):
                name = line.strip()
                if self._splits.get(name, split) != split:
                    problems.add(
                        "photos in two split lists, not used for training",
                        f"{name}, {lists[split]}, line {number}",
                    )
                self._splits[name] = split

    def split_of(self, image_id: str) -> str | None:
        """Returns the split whose list names the image, or None."""
        bare = os.path.splitext(image_id)[0] if filesystem.is_image(image_id) else image_id
        return self._splits.get(image_id) or self._splits.get(bare)

    def listed(self) -> Iterable[str]:
        """Returns the listed names, in the lists' order."""
        return self._splits


def assignment(
    config: Any, folder: str, lists: Mapping[str, Sequence[str]], problems: Problems
) -> Assignment:
    """Returns the split lists that lie in `folder`, or else the seeded ratio split.

    Args:
      config: the dataset part; `ratios` and `seed` are used where there are no lists.
      folder: the data set's folder.
      lists: for each split the file names that its list may have, relative to `folder`.
      problems: counts what is wrong with the lists.
    """
    found: dict[str, str] = {}
    for split, names in lists.items():
        paths = (os.path.join(folder, name) for name in names)
        if path := next((path for path in paths if filesystem.is_file(path)), None):
            found[split] = path
    return ListedSplit(found, problems) if found else ratio_split(config)


def ratio_split(config: Any) -> RatioSplit:
    """Returns the seeded ratio split that `config.ratios` and `config.seed` describe."""
    return RatioSplit(ratios(config), int(config.get("seed") or 0))


def ratios(config: Any) -> tuple[float, float, float]:
    """Returns `config.ratios` as the train, dev and test fractions; (0.8, 0.1, 0.1) if not set.

    Raises:
      UserError: unless they are three fractions that add up to 1.
    """
    value = config.get("ratios")
    if value is None:
        value = (0.8, 0.1, 0.1)
    try:
        if hasattr(value, "get"):
            value = [value.get(split, 0.0) for split in SPLITS]
        fractions = tuple(float(fraction) for fraction in value)
    except (TypeError, ValueError):
        fractions = ()
    fair = len(fractions) == 3 and all(0 <= fraction <= 1 for fraction in fractions)
    if not fair or not math.isclose(sum(fractions), 1.0, abs_tol=1e-6):
        raise UserError(
            f"config.dataset.ratios: {value!r} is not three fractions for train, dev and test"
            " that add up to 1, such as (0.8, 0.1, 0.1)"
        )
    return fractions


def hold_out(images: Sequence[CaptionedImage], config: Any) -> list[CaptionedImage]:
    """Moves `config.holdout` photos of the train split to the split `look`, chosen by hash.

    Raises:
      UserError: when the train split has fewer photos than that.
    """
    count = int(config.get("holdout") or 0)
    train = [image.image_id for image in images if image.split == "train"]
    if not 0 <= count <= len(train):
        raise UserError(
            f"config.dataset.holdout: {count} photos cannot be held out of the"
            f" {len(train)} in the train split"
        )
    seed = int(config.get("seed") or 0)
    held = set(
        heapq.nsmallest(count, train, key=lambda name: stable_fraction(seed, "look/" + name))
    )
    return [
        dataclasses.replace(image, split=HOLDOUT) if image.image_id in held else image
        for image in images
    ]
