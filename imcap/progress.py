"""Progress of long work: done, total, rate and time left, on a terminal or in a log."""

from __future__ import annotations

import sys
from typing import Any

import tqdm


def bar(description: str, unit: str, total: int | None = None, **options: Any) -> tqdm.tqdm:
    """Returns a progress bar: redrawn on a terminal; in a log, a line every 15 seconds.

    Args:
      description: what is being done, in a word.
      unit: of what is counted, such as `image`.
      total: how many there are; None if that is not known yet.
      options: further arguments of tqdm.
    """
    is_terminal = sys.stderr.isatty()
    settings = {
        "mininterval": 0.5 if is_terminal else 15.0,
        "ascii": not is_terminal,
        "dynamic_ncols": is_terminal,
    }
    return tqdm.tqdm(desc=description, unit=unit, total=total, **(settings | options))
