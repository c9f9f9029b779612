"""The HTML report of an evaluation: every image with its captions, references and scores.

It is one file without external references: images are embedded as small JPEGs and the script that
sorts and filters is inline, so it opens from a disk, an e-mail or a bucket. A
Content-Security-Policy allows only that script (by its digest) and forbids the network, so even a
mistake in escaping could not run what a caption holds.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import itertools
import math
import numbers
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence

from imcap import metrics
from imcap.decoding.predictions import Caption
from imcap.metrics import tables
from imcap.reports import html, thumbnails

# (images at most, side in pixels): 1,000 at 224 px take 9 to 13 MB, which a browser still opens.
_ATTENTION_SIDE = 900  # Pixels: five tiles in a row.
_THUMBNAIL_SIDES = ((1_500, 224), (4_000, 128), (math.inf, 96))
_ORDERS = ("Best first", "Worst first")


@dataclasses.dataclass(frozen=True)
class ReportImage:
    """One image of the report.

    Attributes:
      image_id: the id, shown and searched.
      image_path: the image's file; where it cannot be read, the reason is shown.
      caption: the predicted caption.
      score: the model's mean log-probability per token of `caption`.
      references: the reference captions.
      scores: metric key -> the image's own score; an image may lack one.
      alternatives: the beam's further captions, in descending order of their ranks.
      similarities: of the caption with each reference, in their order; empty: not scored.
      attention_path: the file of its attention maps; empty: there are none.
    """

    image_id: str
    image_path: str | os.PathLike[str]
    caption: str
    score: float
    references: Sequence[str]
    scores: Mapping[str, float]
    alternatives: Sequence[Caption] = ()
    similarities: Sequence[float] = ()
    attention_path: str = ""


def write_report(
    path: str | os.PathLike[str],
    *,
    title: str,
    images: Iterable[ReportImage],
    scores: Mapping[str, float],
    settings: Mapping[str, object],
    intervals: Mapping[str, tuple[float, float]] | None = None,
) -> None:
    """Writes the report as one self-contained HTML file, which is replaced as a whole.

    Args:
      path: of the HTML file; its folder exists.
      title: heading and document title.
      images: in this order without JavaScript; the script sorts them.
      scores: corpus figures by key (`Scores.as_dict()` and the like).
      settings: how the captions were made, by key (split, beam size, ...).
      intervals: of corpus figures, by key: the ends of their 95 % intervals.

    Raises:
      UserError: the file cannot be written.
    """
    images = list(images)
    columns = list(dict.fromkeys(name for image in images for name in image.scores))
    script = html.load_inline("report.js")
    stream = html.load_template("report.html").stream(
        title=title,
        cards=_cards(images, columns),
        count=len(images),
        columns=[metrics.label(name) for name in columns],
        buttons=[
            *((metrics.label(name), *_ORDERS, "") for name in columns),
            ("Log-probability", *_ORDERS, "mean log-probability per token"),
        ],
        first_sort=columns.index("cider") if "cider" in columns else len(columns),
        score_groups=_group_scores(scores, intervals or {}),
        settings={name.replace("_", " "): value for name, value in settings.items()},
        style=html.load_inline("report.css"),
        script=script,
        script_digest=html.script_digest(script),
    )
    html.write_html(stream, path)


def _group_scores(
    scores: Mapping[str, float], intervals: Mapping[str, tuple[float, float]]
) -> dict[str, dict[str, tuple[str, str]]]:
    """Returns caveat (`metrics.caveat`) -> label -> figure and interval, as they are shown.

    Figures without a caveat come first; an interval may be empty.
    """
    groups: dict[str, dict[str, tuple[str, str]]] = {"": {}} if scores else {}
    for name, value in scores.items():
        interval = tables.format_interval(intervals[name]) if name in intervals else ""
        shown = _format(value), interval
        groups.setdefault(metrics.caveat(name), {})[metrics.label(name)] = shown
    return groups


def _cards(images: Sequence[ReportImage], columns: Sequence[str]) -> Iterator[dict[str, object]]:
    """Yields the template's values for each image; threads make the thumbnails in advance."""
    side = next(side for most, side in _THUMBNAIL_SIDES if len(images) <= most)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        embedded = pool.map(lambda one: thumbnails.embed_thumbnail(one.image_path, side), images)
        for image, (thumbnail, reason) in zip(images, embedded, strict=True):
            values = [image.scores.get(name) for name in columns]
            yield {
                "image": image,
                "thumbnail": thumbnail,
                "reason": reason,
                "attention": _embed_attention(image),
                "figures": [_format(value) for value in values],
                "score": _format(image.score),
                "references": itertools.zip_longest(
                    image.references, map(_format, image.similarities)
                ),
                "alternatives": [
                    (other.caption, _format(other.score), _format(other.rank))
                    for other in image.alternatives
                ],
                "sort_values": [_number(value) for value in (*values, image.score)],
            }


def _embed_attention(image: ReportImage) -> str | None:
    """Returns the attention maps as a data URI, None where there are none."""
    if not image.attention_path:
        return None
    return thumbnails.embed_thumbnail(image.attention_path, _ATTENTION_SIDE)[0]


def _number(value: float | None) -> float | None:
    """Returns a number for JSON, which has neither NaN nor infinity: None in their place."""
    return round(float(value), 6) if value is not None and math.isfinite(value) else None


def _format(value: object) -> str:
    """Returns a value as shown: integers with separators, other numbers with four decimals."""
    if value is None:
        return "–"
    if isinstance(value, numbers.Integral):
        return f"{int(value):,}"
    return f"{float(value):.4f}" if isinstance(value, numbers.Real) else str(value)
