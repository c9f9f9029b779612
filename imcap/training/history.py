"""A training's epochs: the table history.csv."""

from __future__ import annotations

import csv
import os

from imcap import filesystem, metrics
from imcap.errors import UserError, one_line

COLUMNS = (
    "epoch",
    "step",
    "loss",
    "reward",
    "learning_rate",
    "captions_per_second",
    "gradient_norm",
    "waiting_share",
    "dev_loss",
    *(f"dev_{key}" for key in metrics.METRICS),
)
Epoch = dict[str, float | int]  # By column.


class History:
    """The rows of history.csv, one per epoch; the file is replaced as a whole."""

    def __init__(self, workdir: str, step: int = 0) -> None:
        """Reads the rows up to `step`: later ones are of steps after the restored checkpoint.

        Raises:
          UserError: the file is corrupted.
        """
        self.path = os.path.join(workdir, "history.csv")
        self.rows: list[dict[str, str]] = []
        if os.path.exists(self.path) and step:
            self.rows = [row for row in _read_rows(self.path) if int(row["step"]) <= step]

    def append(self, epoch: Epoch, *, write: bool = True) -> None:
        """Adds an epoch; a column without a value stays empty. `write`: to the file, too."""
        self.rows.append({key: _format(epoch.get(key)) for key in COLUMNS})
        if not write:
            return
        with (
            filesystem.writing_to(self.path),
            filesystem.replacing(self.path) as temporary,
            open(temporary, "w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(self.rows)

    def epoch(self) -> int | None:
        """Returns the last epoch that is complete, 0 before the first; None without history.csv."""
        if self.rows:
            return int(self.rows[-1]["epoch"])
        return 0 if os.path.exists(self.path) else None

    def scores(self, column: str) -> list[float]:
        """Returns a column's values, of the epochs that have one."""
        return [float(row[column]) for row in self.rows if row.get(column)]

    def is_best(self, column: str) -> bool:
        """Tells whether the last epoch has a score, and a higher one than every earlier epoch."""
        scores = self.scores(column)
        is_scored = bool(self.rows and self.rows[-1].get(column))
        return is_scored and _argmax(scores) == len(scores) - 1

    def is_stalled(self, column: str, patience: int) -> bool:
        """Tells whether the last `patience` scores are no higher than one before; 0: never."""
        scores = self.scores(column)
        return bool(patience) and len(scores) - 1 - _argmax(scores) >= patience


def _read_rows(path: str) -> list[dict[str, str]]:
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            _check_numbers(row)
    except (csv.Error, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is corrupted ({one_line(error)}): remove it") from error
    return rows


def _check_numbers(row: dict[str, str]) -> None:
    """Raises an exception unless a row has an epoch and a step, and numbers alone."""
    for key in ("epoch", "step"):
        int(row[key])
    for value in row.values():
        float(value or 0)


def _argmax(scores: list[float]) -> int:
    return max(range(len(scores)), key=lambda i: scores[i], default=0)


def _format(value: float | int | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.6g}"
