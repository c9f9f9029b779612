"""The plot of a training's history, which follows it."""

from __future__ import annotations

import os
import time

from imcap.reports import plots

_SECONDS = 5.0  # Between two drawings, which take a quarter of a second each.


class HistoryPlot:
    """Draws a run's history.png from its history.csv."""

    def __init__(self, workdir: str, *, write: bool = True) -> None:
        """`write`: False for a worker that leaves this to another one."""
        self._csv, self._png = (os.path.join(workdir, f"history.{kind}") for kind in ("csv", "png"))
        self._write = write
        self._is_outdated = False
        self._drawn_at = time.monotonic()

    def update(self) -> None:
        """Draws a row that has come, now or later: epochs of milliseconds need no plot each, nor
        does a training of seconds need one before its end."""
        self._is_outdated = self._write
        if time.monotonic() - self._drawn_at > _SECONDS:
            self.close()

    def close(self) -> None:
        """Draws what has not been drawn yet."""
        if self._is_outdated:
            plots.draw_history(self._csv, self._png)
            self._is_outdated, self._drawn_at = False, time.monotonic()
