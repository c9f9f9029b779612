"""The HTML report of an evaluation: every photo with its predicted and real captions and scores.

One file without any outside reference: photos are embedded as small JPEGs and the script that sorts
and filters is inline, so it opens from a disk, a mail or a bucket. A Content-Security-Policy lets
only that very script run (by its digest) and forbids the network, so even a mistake in escaping
could not run what a caption holds.
"""

from __future__ import annotations

import base64
import concurrent.futures
import dataclasses
import hashlib
import math
import numbers
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

from imcap import metrics
from imcap.reports import html

# 1,000 photos at 224 px make 9 to 13 MB; beyond, smaller ones keep a page that a browser opens.
_THUMBNAIL_SIDES = ((1_500, 224), (4_000, 128), (math.inf, 96))


@dataclasses.dataclass(frozen=True)
class ReportRow:
    """One photo of the report.

    Attributes:
      image_id: the id, shown and searched.
      image_path: the photo's file; None, a missing or an unreadable file gives a grey box with the
        reason.
      caption: the predicted caption.
      score: the model's mean log-probability per token of `caption`.
      references: the real captions.
      scores: the photo's scores by name (`bleu4`, `rouge_l`, `cider`, ...), sortable; a photo may
        lack one.
      alternatives: further captions with their model scores, best first.
    """

    image_id: str
    image_path: str | os.PathLike[str] | None
    caption: str
    score: float
    references: Sequence[str]
    scores: Mapping[str, float]
    alternatives: tuple[tuple[str, float], ...] = ()


def write(
    path: str | os.PathLike[str],
    *,
    title: str,
    rows: Iterable[ReportRow],
    scores: Mapping[str, float],
    settings: Mapping[str, object],
) -> None:
    """Writes the report as one self-contained HTML file.

    The file is written under a temporary name beside `path` and renamed when complete.

    Args:
      path: of the HTML file; its folder exists.
      title: heading and page title.
      rows: the photos, shown in this order until the page's script sorts them.
      scores: the corpus figures by name (`Scores.as_dict()`).
      settings: how the captions came about, by name (split, beam size, checkpoint, ...).

    Raises:
      OSError: the file cannot be written.
    """
    rows = list(rows)
    columns = list(dict.fromkeys(name for row in rows for name in row.scores))
    page = (
        html.environment()
        .get_template("report.html")
        .stream(
            title=title,
            cards=_cards(rows, columns),
            count=len(rows),
            columns=[metrics.label(name) for name in columns],
            first_sort=columns.index("cider") if "cider" in columns else len(columns),
            scores={metrics.label(name): _figure(value) for name, value in scores.items()},
            settings={name.replace("_", " "): value for name, value in settings.items()},
            style=html.asset("report.css"),
            script=html.asset("report.js"),
            script_digest=_digest(html.asset("report.js")),
        )
    )
    html.dump(page, pathlib.Path(path))


def _digest(script: str) -> str:
    """Returns the Content-Security-Policy source that allows exactly this inline script."""
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def _cards(rows: Sequence[ReportRow], columns: Sequence[str]) -> Iterator[dict[str, object]]:
    """Yields what the template shows of each row; photos are read ahead by a few threads."""
    side = next(side for most, side in _THUMBNAIL_SIDES if len(rows) <= most)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        photos = pool.map(lambda row: html.photo(row.image_path, side), rows)
        for row, (photo, reason) in zip(rows, photos, strict=True):
            values = [row.scores.get(name) for name in columns]
            yield {
                "row": row,
                "photo": photo,
                "reason": reason,
                "figures": [_figure(value) for value in values],
                "score": _figure(row.score),
                "alternatives": [(text, _figure(score)) for text, score in row.alternatives],
                "sort_values": [_number(value) for value in (*values, row.score)],
            }


def _number(value: float | None) -> float | None:
    """Returns a number for JSON, which knows neither NaN nor infinity."""
    return round(float(value), 6) if value is not None and math.isfinite(value) else None


def _figure(value: object) -> str:
    """Returns a number as shown: whole ones as they are, others with four decimals."""
    if value is None:
        return "–"
    if isinstance(value, numbers.Integral):
        return f"{int(value):,}"
    return f"{float(value):.4f}" if isinstance(value, numbers.Real) else str(value)
