"""Scores of captions by every registered metric, on words.

Every metric is computed on standardized words separated by single spaces; never on ids, where an
`<unk>` on both sides would count as a match, and never with start or end markers, which would count
as two words that always match.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from imcap.errors import UserError
from imcap.metrics import METRICS

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
    """

    corpus: float
    per_image: Sequence[float] | None = None


@dataclasses.dataclass(frozen=True)
class Scores:
    """Corpus scores and each image's own.

    Attributes:
      corpus: metric key -> value: `bleu1` to `bleu4` and `rouge_l` in [0, 1], `cider` in [0, 10]
        (papers print it as is, 0.6, or as a percentage, 60).
      num_images: number of images scored.
      per_image: image_id -> metric key -> value, of `bleu4`, `rouge_l` and `cider`. The latter two
        are the terms of the corpus means; `bleu4` is smoothed sentence BLEU, see `metrics.bleu`.
    """

    corpus: Mapping[str, float]
    num_images: int
    per_image: Mapping[str, Mapping[str, float]] = dataclasses.field(repr=False)

    def as_dict(self) -> dict[str, float | int]:
        """Returns the corpus scores by key, and `images`, their number."""
        return {**self.corpus, "images": self.num_images}


def score_captions(
    references: Mapping[str, Sequence[str]], hypotheses: Mapping[str, str]
) -> Scores:
    """Scores one hypothesis per image against that image's references.

    Args:
      references: image_id -> one or more captions, standardized, words separated by single spaces.
        Images may have different numbers of captions.
      hypotheses: image_id -> the predicted caption, standardized the same way. An empty one is
        scored, as a caption of no words.

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
    references = {image_id: list(captions) for image_id, captions in references.items()}
    hypotheses = {image_id: hypotheses[image_id] for image_id in references}
    results = _run_scorers(references, hypotheses)
    per_image = {
        image_id: {
            key: float(result.per_image[index])
            for key, result in results.items()
            if result.per_image is not None
        }
        for index, image_id in enumerate(references)
    }
    corpus = {key: float(result.corpus) for key, result in results.items()}
    return Scores(corpus, len(references), per_image)


def _run_scorers(
    references: Mapping[str, Sequence[str]], hypotheses: Mapping[str, str]
) -> dict[str, MetricScore]:
    results: dict[str, MetricScore] = {}
    for key in METRICS:
        if key not in results:  # A scorer may return several metrics.
            results |= METRICS.load(key)(references, hypotheses)
    return {key: results[key] for key in METRICS}


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
