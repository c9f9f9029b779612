"""The table of a training's epochs: history.csv, and the picture drawn from it."""

from __future__ import annotations

import csv
import os

from imcap import filesystem, metrics

COLUMNS = (
    "epoch",
    "step",
    "loss",
    "learning_rate",
    "captions_per_second",
    "dev_loss",
    *(f"dev_{key}" for key in metrics.METRICS),
)


class History:
    """The rows of history.csv, one per epoch; rewritten whole, so never cut off."""

    def __init__(self, workdir: str, step: int = 0) -> None:
        """Reads the rows up to `step`: what a killed run wrote behind its checkpoint goes."""
        self.path = os.path.join(workdir, "history.csv")
        self.rows: list[dict[str, str]] = []
        if os.path.exists(self.path) and step:
            with open(self.path, newline="", encoding="utf-8") as file:
                self.rows = [row for row in csv.DictReader(file) if int(row["step"]) <= step]

    def append(self, row: dict[str, float | int | None], *, write: bool = True) -> None:
        """Adds an epoch; a column without a value stays empty. `write`: to the file, too."""
        self.rows.append({key: _format(row.get(key)) for key in COLUMNS})
        if not write:
            return
        with (
            filesystem.replacing(self.path) as temporary,
            open(temporary, "w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(self.rows)

    def scores(self, column: str) -> list[float]:
        """Returns a column's values, of the epochs that have one."""
        return [float(row[column]) for row in self.rows if row.get(column)]


def _format(value: float | int | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.6g}"
