"""Tables of the scores of evaluations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

from imcap import metrics
from imcap.errors import UserError
from imcap.metrics import files

Name = TypeVar("Name")  # Of a row: a split, or a run and its split.


class ScoreTable(NamedTuple, Generic[Name]):
    """Figures that may be compared with one another.

    Attributes:
      caveat: a sentence to print above them (`metrics.caveat`), or empty.
      labels: of the figures' columns.
      rows: of each its name, its number of images and its figures.
    """

    caveat: str
    labels: list[str]
    rows: list[tuple[Name, str, list[str]]]


def tabulate(found: Sequence[tuple[Name, files.Scores]]) -> list[ScoreTable[Name]]:
    """Returns the tables of the scores of several splits.

    Args:
      found: of each row its name and the content of its metrics.json.

    Returns:
      First the table of all metrics without a caveat: those that are always scored (`–` where one
      is missing) and the optional ones that any row has. Then one for each caveat, of the rows that
      have such figures.
    """
    present = {key for _, scores in found for key in scores}
    columns = {"": list(metrics.METRICS)}
    for key in metrics.OPTIONAL:
        if key in present:
            columns.setdefault(metrics.caveat(key), []).append(key)
    return [
        ScoreTable(
            caveat,
            [metrics.label(key) for key in keys],
            [
                (name, str(scores["images"]), _format_figures(scores, keys))
                for name, scores in found
                if not caveat or scores.keys() & set(keys)
            ],
        )
        for caveat, keys in columns.items()
    ]


def _format_figures(scores: files.Scores, keys: Iterable[str]) -> list[str]:
    return [f"{scores[key]:.3f}" if key in scores else "–" for key in keys]


def format_interval(ends: Sequence[float], sign: str = "-") -> str:
    """Returns an interval as it is shown: `0.2080 to 0.2371`; `sign`: `+` to show that, too."""
    low, high = ends
    return f"{low:{sign}.4f} to {high:{sign}.4f}"


def format_scores(scores: Mapping[str, float], intervals: Mapping[str, Sequence[float]]) -> str:
    """Returns the scores of one evaluation, a line each, with the 95 % intervals of those that have
    one."""
    lines = []
    for name, value in scores.items():
        figure = f"{value:.4f}" if isinstance(value, float) else f"{value}"
        interval = f"  95 %: {format_interval(intervals[name])}" if name in intervals else ""
        lines.append(f"{name:15} {figure}{interval}")
    return "\n".join(lines)


def format_table(workdirs: Sequence[str]) -> str:
    """Returns a text table of all scores in `workdirs`, a line per run and split.

    Figures with a caveat are in tables of their own, below it.

    Raises:
      UserError: a workdir holds none.
    """
    found = []
    for workdir in workdirs:
        splits = files.read_scores(workdir)
        if not splits:
            raise UserError(f"{workdir} holds no scores: run `imcap eval` first")
        found += [((workdir, split), scores) for split, scores in splits.items()]
    return "\n\n".join(_format(table) for table in tabulate(found))


def _format(table: ScoreTable[tuple[str, str]]) -> str:
    widths = [max(8, len(label)) for label in table.labels]
    rows = [(("run", "split"), "images", table.labels), *table.rows]
    names = [name for name, *_ in rows]
    run_width, split_width = (max(len(name[part]) for name in names) for part in (0, 1))
    lines = [f"{table.caveat}:"] if table.caveat else []
    for (run, split), images, figures in rows:
        cells = [f"{figure:>{width}}" for figure, width in zip(figures, widths, strict=True)]
        lines.append(" ".join([f"{run:{run_width}} {split:{split_width}} {images:>6}", *cells]))
    return "\n".join(lines)
