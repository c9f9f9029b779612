"""What every dataset reader is given, what it yields, and how it counts what it left out."""

from __future__ import annotations

import abc
import collections
import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from imcap import filesystem
from imcap.errors import UserError

# The kind of problem under which every reader counts images whose file is not there, once each.
MISSING_IMAGES = "missing images"


@dataclasses.dataclass(frozen=True, slots=True)
class CaptionedImage:
    """One image with all its captions.

    Attributes:
      image_id: unique within the data set; the file name in the layouts that have no other id.
      path: of the image file, or the address of its bytes in another file
        (`filesystem.read_image`); it begins with `Settings.dir` where the file lies in that folder.
      captions: the raw strings, in the source's order, empty ones removed.
      split: `train`, `dev`, `test`, or another name that the source gives.
      digest: of the image's bytes, where these were read with the row; else empty.
    """

    image_id: str
    path: str
    captions: tuple[str, ...]
    split: str
    digest: str = ""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What readers take from a config's `dataset` part; each reader's docstring names its fields.

    Attributes:
      dir: the data set's folder, normalized (`filesystem.normalize`).
      images: the images' folder, relative to `dir`; empty: as the layout has it.
      captions: the captions' file, relative to `dir`; empty: as the layout has it.
      ratios: of train, dev and test, in this order or by name.
      holdout: how many images are moved from train to the split `holdout`.
      exclude: files, separated by commas, that list the images to leave out: see `selection`.
      restval: whether Karpathy's `restval` images are in train.
      seed: of the split by ratio, and of what is drawn.
      size: number of images that are drawn.
      columns: a table's columns by field: `image`, `caption`, `id`, `split`.
    """

    dir: str = ""
    images: str = ""
    captions: str = ""
    ratios: Any = (0.8, 0.1, 0.1)
    holdout: int = 0
    exclude: str = ""
    restval: bool = True
    seed: int = 0
    size: int = 5_000
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Settings:
        """Takes the fields from a mapping or an `ml_collections.ConfigDict`; None is no value."""
        names = [field.name for field in dataclasses.fields(cls)]
        given = {name: config[name] for name in names if config.get(name) is not None}
        return cls(**{**given, "dir": filesystem.normalize(given.get("dir", ""))})


class Problems:
    """Counts what a reader left out, by kind, with the place of the first of each kind."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.first: dict[str, str] = {}

    def add(self, kind: str, where: str, count: int = 1) -> None:
        """Counts `count` more problems of `kind` (a plural noun phrase: `missing images`).

        `where` is a file with a line, or an image's name.
        """
        self.counts[kind] = self.counts.get(kind, 0) + count
        self.first.setdefault(kind, where)

    def lines(self) -> list[str]:
        """Returns one line per kind: its count and the place of the first."""
        return [f"{n} {kind} (first: {self.first[kind]})" for kind, n in self.counts.items()]


class Reader(abc.ABC):
    """Reads one layout. A reader whose source has independent parts is a `parted.PartedReader`."""

    draws = False  # Whether `read` draws images that are not there yet.

    def __init__(self, settings: Settings) -> None:
        """Raises UserError where the settings cannot be used."""
        self.settings = settings

    @abc.abstractmethod
    def read(self, problems: Problems) -> Iterator[CaptionedImage]:
        """Yields the images, always in the same order.

        Args:
          problems: counts what is left out; complete once the iterator is exhausted.

        Raises:
          UserError: the data cannot be used, or there is not one image with a caption.
        """

    def first(self) -> CaptionedImage:
        """Returns one image, with as little reading as the layout allows; writes nothing.

        Raises:
          UserError: as `read` does.
        """
        return next(self.read(Problems()))

    def count(self) -> dict[str, int]:
        """Returns the number of images by split; writes nothing."""
        return dict(collections.Counter(image.split for image in self.read(Problems())))


def require_some(
    images: Iterable[CaptionedImage], source: str, problems: Problems
) -> Iterator[CaptionedImage]:
    """Passes `images` on, and fails when there were none, saying what was left out.

    Raises:
      UserError: after an empty `images`; it names `source` and what `problems` counted.
    """
    found = False
    for image in images:
        found = True
        yield image
    if not found:
        why = "; ".join(problems.lines()) or "nothing was listed"
        raise UserError(f"{source}: no image with a caption was found: {why}")
