"""The HTML page that compares two systems, A and B, image by image.

Like the report it is one file without external references, whose only script is allowed by its
digest.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Iterator, Mapping, Sequence

from imcap import metrics
from imcap.metrics import significance
from imcap.reports import html

_Words = list[tuple[str, bool]]  # Each with whether the other caption lacks it at this place.
_BETTER = ("B better first", "A better first", "B's score minus A's")
_CHANGED = ("Most first", "Fewest first", "words that only one of the captions has")


@dataclasses.dataclass(frozen=True)
class ComparedImage:
    """An image with two captions.

    Attributes:
      image_id: the id, shown and searched.
      thumbnail: the image as a JPEG data URI; None: not at hand.
      captions: of A and of B.
      references: the reference captions.
      scores: of A and of B: metric key -> the image's own score.
    """

    image_id: str
    thumbnail: str | None
    captions: tuple[str, str]
    references: Sequence[str]
    scores: tuple[Mapping[str, float], Mapping[str, float]]


def write_comparison(
    path: str | os.PathLike[str],
    *,
    title: str,
    columns: Sequence[str],
    rows: Mapping[str, Sequence[str]],
    settings: Mapping[str, tuple[str, str]],
    images: Sequence[ComparedImage],
) -> None:
    """Writes the page as one self-contained HTML file, which is replaced as a whole.

    Args:
      path: of the HTML file; its folder exists.
      title: heading and document title.
      columns: names of the figures of `rows`.
      rows: metric label -> the figures as shown.
      settings: name -> its values of A and of B as shown; the page marks those that differ.
      images: in this order without JavaScript; the script sorts them.

    Raises:
      UserError: the file cannot be written.
    """
    keys = list(images[0].scores[0]) if images else []
    labels = [metrics.label(key) for key in keys]
    script = html.load_inline("report.js")
    stream = html.load_template("comparison.html").stream(
        title=title,
        columns=columns,
        rows=rows,
        draws=significance.RESAMPLES,
        exchanges=significance.PERMUTATIONS,
        settings={_shown_name(name): pair for name, pair in settings.items()},
        metric_labels=labels,
        buttons=[*((label, *_BETTER) for label in labels), ("Words that differ", *_CHANGED)],
        first_sort=keys.index("cider") if "cider" in keys else 0,
        count=len(images),
        cards=_cards(images, keys),
        style=html.load_inline("report.css"),
        script=script,
        script_digest=html.script_digest(script),
    )
    html.write_html(stream, path)


def _shown_name(setting: str) -> str:
    """Returns the name without underscores; that of a config's setting, `PART.KEY`, as it is."""
    return setting if "." in setting else setting.replace("_", " ")


def _cards(images: Sequence[ComparedImage], keys: Sequence[str]) -> Iterator[dict[str, object]]:
    """Yields the template's values for each image."""
    for image in images:
        captions = _mark_changes(*(caption.split() for caption in image.captions))
        a, b = ([scores[key] for key in keys] for scores in image.scores)
        differences = [right - left for left, right in zip(a, b, strict=True)]
        num_changed = sum(is_changed for words in captions for _, is_changed in words)
        yield {
            "image": image,
            "captions": dict(zip("AB", captions, strict=True)),
            "figures": {
                "A": [f"{value:.4f}" for value in a],
                "B": [f"{value:.4f}" for value in b],
                "B - A": [f"{value:+.4f}" for value in differences],
            },
            "sort_values": [*(round(value, 6) for value in differences), num_changed],
        }


def _mark_changes(a: Sequence[str], b: Sequence[str]) -> tuple[_Words, _Words]:
    """Returns the words of both captions, each with whether the other one lacks it there."""
    same_a, same_b = set[int](), set[int]()
    for block in difflib.SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks():
        same_a |= set(range(block.a, block.a + block.size))
        same_b |= set(range(block.b, block.b + block.size))
    return (
        [(word, index not in same_a) for index, word in enumerate(a)],
        [(word, index not in same_b) for index, word in enumerate(b)],
    )
