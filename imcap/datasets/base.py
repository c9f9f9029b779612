"""What every dataset reader yields, and how it counts what it had to leave out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from imcap.errors import UserError

# The kind of problem under which every reader counts images whose file is not there, once each.
MISSING_IMAGES = "missing images"


@dataclasses.dataclass(frozen=True, slots=True)
class CaptionedImage:
    """One photo with all its captions.

    Attributes:
      image_id: unique within the data set; the file name in the layouts that have no other id.
      path: of the image file, as the reader found it (below the data set's folder).
      captions: the raw strings, in the source's order, empty ones removed.
      split: `train`, `dev`, `test`, or another name that the source gives.
    """

    image_id: str
    path: str
    captions: tuple[str, ...]
    split: str


class Problems:
    """Counts what a reader left out, by kind, with the first example of each kind."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.examples: dict[str, str] = {}

    def add(self, kind: str, example: str, count: int = 1) -> None:
        """Counts `count` more problems of `kind` (a plural noun phrase: `missing photos`)."""
        self.counts[kind] = self.counts.get(kind, 0) + count
        self.examples.setdefault(kind, example)

    def lines(self) -> list[str]:
        """Returns one line per kind: its count and the first example."""
        return [f"{n} {kind} (first: {self.examples[kind]})" for kind, n in self.counts.items()]


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
        raise UserError(f"{source}: not one photo with a caption was found: {why}")
