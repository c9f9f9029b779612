"""Scores of captions by the registered metrics, on words.

Every metric is computed on standardized words separated by single spaces; never on ids, where an
`<unk>` on both sides would count as a match, and never with start or end markers, which would count
as two words that always match.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from imcap import metrics
from imcap.errors import UserError
from imcap.metrics import significance

_MARKER_WORD = re.compile(
    r"(?<!\S)(?:startseq|endseq"
    r"|[\[<]/?(?:s|start|end|sos|bos|eos|pad|unk|oov|mask|cls|sep)[\]>])(?!\S)",
    re.IGNORECASE,
)


class MetricScore(NamedTuple):
    """What a scorer returns for one metric.

    Attributes:
      corpus: the value for all images together.
      per_image: each image's own value, in the order of the references; None if it has none.
      per_reference: each image's values of its hypothesis with each one of its references, in
        their order; None if it has none.
      statistics: what `corpus` is computed from; None if it is the mean of `per_image`.
    """

    corpus: float
    per_image: Sequence[float] | None = None
    per_reference: Sequence[Sequence[float]] | None = None
    statistics: significance.Statistics | None = None


Scorer: TypeAlias = Callable[[Mapping[str, list[str]], Mapping[str, str]], dict[str, MetricScore]]


@dataclasses.dataclass(frozen=True)
class Scores:
    """Corpus scores and each image's own.

    Attributes:
      corpus: metric key -> value: `bleu1` to `bleu4` and `rouge_l` in [0, 1], `cider` in [0, 10]
        (papers print it as is, 0.6, or as a percentage, 60), and those of optional metrics.
      num_images: number of images scored.
      per_image: image_id -> metric key -> value, of `bleu4`, `rouge_l`, `cider` and of optional
        metrics that have one. They are the terms of the corpus means but for `bleu4`, which is
        smoothed sentence BLEU, see `metrics.bleu`.
      per_reference: image_id -> metric key -> the values of the hypothesis with each reference, of
        the optional metrics that compare it with one at a time.
      statistics: metric key -> what the corpus score is computed from, of each image; a metric may
        lack them.
    """

    corpus: Mapping[str, float]
    num_images: int
    per_image: Mapping[str, Mapping[str, float]] = dataclasses.field(repr=False)
    per_reference: Mapping[str, Mapping[str, Sequence[float]]] = dataclasses.field(repr=False)
    statistics: Mapping[str, significance.Statistics] = dataclasses.field(repr=False, compare=False)

    @functools.cached_property
    def intervals(self) -> dict[str, significance.Interval]:
        """Metric key -> the 95 % bootstrap interval of the corpus score, see `significance`."""
        return significance.intervals(self.statistics)

    def as_dict(self) -> dict[str, float | int]:
        """Returns the corpus scores by key, and `images`, their number."""
        return {**self.corpus, "images": self.num_images}


def build_optional_scorers(settings: Mapping[str, Any]) -> list[Scorer]:
    """Returns the scorers of the optional metrics that `settings` ask for.

    Args:
      settings: a config's `eval` part.

    Raises:
      UserError: a setting's value cannot work, or its metric needs a package that is missing.
    """
    keys = {metrics.setting(key): key for key in metrics.OPTIONAL}  # One of each scorer's.
    return [
        metrics.OPTIONAL.load(key)(settings[setting])
        for setting, key in keys.items()
        if settings[setting]
    ]


def score_captions(
    references: Mapping[str, Sequence[str]],
    hypotheses: Mapping[str, str],
    optional_scorers: Sequence[Scorer] = (),
) -> Scores:
    """Scores one hypothesis per image against that image's references.

    Args:
      references: image_id -> one or more captions, standardized, words separated by single spaces.
        Images may have different numbers of captions.
      hypotheses: image_id -> the predicted caption, standardized the same way. An empty one is
        scored, as a caption of no words.
      optional_scorers: of further metrics; see `build_optional_scorers`.

    Returns:
      The scores of the corpus and of each image, in the order of `references`.

    Raises:
      UserError: the two sides hold different images, there is no image, an image has no reference,
        words are not separated by single spaces, or a text holds a marker (`[START]`, `<end>`,
        `startseq`, `[UNK]` and the like).
    """
    _check_images(references, hypotheses)
    for image_id, captions in references.items():
        for caption in (*captions, hypotheses[image_id]):
            _check_words(image_id, caption)
    # One order for both sides: some scorers pair them by position.
    lists = {image_id: list(captions) for image_id, captions in references.items()}
    hypotheses = {image_id: hypotheses[image_id] for image_id in references}
    results = _run_scorers(lists, hypotheses, optional_scorers)
    return Scores(
        {key: float(result.corpus) for key, result in results.items()},
        len(references),
        _by_image(references, {key: result.per_image for key, result in results.items()}, float),
        _by_image(references, {key: result.per_reference for key, result in results.items()}, list),
        {key: found for key, result in results.items() if (found := _statistics(result))},
    )


def _statistics(result: MetricScore) -> significance.Statistics | None:
    if result.statistics or result.per_image is None:
        return result.statistics
    return significance.mean(result.per_image)


def _run_scorers(
    references: Mapping[str, list[str]],
    hypotheses: Mapping[str, str],
    optional_scorers: Sequence[Scorer],
) -> dict[str, MetricScore]:
    results: dict[str, MetricScore] = {}
    for key in metrics.METRICS:
        if key not in results:  # A scorer may return several metrics.
            results |= metrics.METRICS.load(key)(references, hypotheses)
    for scorer in optional_scorers:
        results |= scorer(references, hypotheses)
    return {key: results[key] for key in (*metrics.METRICS, *metrics.OPTIONAL) if key in results}


def _by_image(
    image_ids: Iterable[str],
    values: Mapping[str, Sequence[Any] | None],
    convert: Callable[[Any], Any],
) -> dict[str, dict[str, Any]]:
    """Returns image_id -> metric key -> value, converted; a metric may have none."""
    return {
        image_id: {key: convert(each[i]) for key, each in values.items() if each is not None}
        for i, image_id in enumerate(image_ids)
    }


def _check_images(references: Mapping[str, Sequence[str]], hypotheses: Mapping[str, str]) -> None:
    for image_id in references:
        if image_id not in hypotheses:
            raise UserError(f"image {image_id!r} has references but no hypothesis: caption it too")
        if isinstance(references[image_id], str) or not references[image_id]:
            raise UserError(f"image {image_id!r} needs a list of one or more references")
    for image_id in hypotheses:
        if image_id not in references:
            raise UserError(f"image {image_id!r} has a hypothesis but no references: leave it out")
    if not references:
        raise UserError("there is no image to score")


def _check_words(image_id: str, caption: str) -> None:
    if "  " in caption or caption != caption.strip():
        raise UserError(
            f"image {image_id!r}: words must be separated by single spaces, not as in {caption!r}"
        )
    if found := _MARKER_WORD.search(caption):
        raise UserError(
            f"image {image_id!r}: marker {found[0]!r} in {caption!r} would be scored as a word: "
            "remove markers first"
        )
