"""The data sets: one module per published layout, each yielding `CaptionedImage`."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

from imcap.datasets import coco, flickr8k, flickr30k, folder, karpathy, shapes, table
from imcap.datasets.base import CaptionedImage, Problems
from imcap.errors import UserError

__all__ = ["READERS", "CaptionedImage", "Problems", "first", "read"]

READERS = {
    "coco": coco.read,
    "flickr30k": flickr30k.read,
    "flickr8k": flickr8k.read,
    "folder": folder.read,
    "karpathy": karpathy.read,
    "shapes": shapes.read,
    "table": table.read,
}


def read(config: Any, problems: Problems) -> Iterator[CaptionedImage]:
    """Yields the photos of a config's `dataset` part, always in the same order.

    Args:
      config: an `ml_collections.ConfigDict`; `name` chooses the reader, the other fields are
        described in the reader's module.
      problems: counts what is left out; complete once the iterator is exhausted.

    Raises:
      UserError: for an unknown name at once; for unusable data on iterating.
    """
    name = str(config.get("name") or "")
    if name not in READERS:
        near = difflib.get_close_matches(name, READERS, n=1, cutoff=0.3)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UserError(
            f"config.dataset.name: no reader is called {name!r}.{hint}"
            f" There are {', '.join(READERS)}."
        )
    return READERS[name](config, problems)


def first(config: Any) -> CaptionedImage | None:
    """Returns one photo of a config's `dataset` part, found without reading a whole table.

    Raises:
      UserError: as `read` does.
    """
    if config.get("name") == "table":
        return table.first(config)
    return next(read(config, Problems()), None)
