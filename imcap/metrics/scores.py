"""Caption scores: BLEU-1..4 (NLTK), ROUGE-L and CIDEr-D (pycocoevalcap), on words.

Every figure is taken on standardized words separated by single spaces; never on ids, where an
`<unk>` on both sides would count as a hit, and never with start or end markers, which would count
as two words that are always right.

`rouge_l` and `cider` are what pycocoevalcap's `Rouge` and `Cider` return. Its `Cider` computes
CIDEr-D (clipped counts, Gaussian length penalty with sigma 6, times 10), not plain CIDEr; document
frequencies are those of the references that are scored, so a figure belongs to its set of images,
and on a single image it is 0 (the idf of every n-gram is log 1).

`bleu1` to `bleu4` are NLTK's `corpus_bleu`, uniform weights, no smoothing, and agree with
pycocoevalcap's `Bleu` to 1e-8 whenever at least one n-gram of that order is right:

- Reference length: no difference. Both take, for each image, the reference whose length is closest
  to the hypothesis' and the shorter one of two that are equally close.
- Captions of fewer than n words: NLTK counts each as one wrong n-gram, pycocoevalcap (and the
  paper) as none. `score` takes these out again, so no difference is left; NLTK alone is lower.
- No n-gram of that order right in the whole corpus: BLEU is 0, and 0.0 is what `score` gives. NLTK
  alone gives about 1e-77 and a warning. pycocoevalcap adds 1e-15 to the matches and 1e-9 to the
  n-grams (the only difference that is left), and so gives a small positive figure: below 2e-4 for
  BLEU-4, but up to 0.032 where every caption is too short to hold an n-gram at all.
"""

from __future__ import annotations

import dataclasses
import glob
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence

from nltk.translate import bleu_score
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from imcap.errors import UserError

_ORDERS = (1, 2, 3, 4)
_UNIFORM_WEIGHTS = [(1 / n,) * n for n in _ORDERS]
_MARKER_WORD = re.compile(
    r"(?<!\S)(?:startseq|endseq"
    r"|[\[<]/?(?:s|start|end|sos|bos|eos|pad|unk|oov|mask|cls|sep)[\]>])(?!\S)",
    re.IGNORECASE,
)


@dataclasses.dataclass(frozen=True)
class Scores:
    """Corpus scores and each image's own.

    Attributes:
      bleu1, bleu2, bleu3, bleu4: corpus BLEU in [0, 1], no smoothing.
      rouge_l: mean ROUGE-L F-measure (beta 1.2) in [0, 1].
      cider: mean CIDEr-D in [0, 10]; papers print it as is (0.6) or as a percentage (60).
      images: number of images scored.
      per_image: image_id -> `bleu4`, `rouge_l`, `cider`. The latter two are the terms of the
        corpus means; `bleu4` is sentence BLEU with one added to the counts of 2- to 4-grams (NLTK's
        `SmoothingFunction().method2`; Lin and Och 2004), fit for ranking images, and its mean is
        not the corpus BLEU.
    """

    bleu1: float
    bleu2: float
    bleu3: float
    bleu4: float
    rouge_l: float
    cider: float
    images: int
    per_image: Mapping[str, Mapping[str, float]] = dataclasses.field(repr=False)

    def as_dict(self) -> dict[str, float | int]:
        """Returns the corpus figures by name, in the order of the attributes."""
        names = [field.name for field in dataclasses.fields(self) if field.name != "per_image"]
        return {name: getattr(self, name) for name in names}


def score(references: Mapping[str, Sequence[str]], hypotheses: Mapping[str, str]) -> Scores:
    """Scores one hypothesis per image against that image's references.

    BLEU: Papineni et al. 2002. ROUGE-L: Lin 2004. CIDEr-D: Vedantam et al. 2015.

    Args:
      references: image_id -> one or more captions, standardized, words separated by single spaces.
        Images may have different numbers of captions.
      hypotheses: image_id -> the predicted caption, standardized the same way. An empty one is
        scored, as a caption of no words.

    Returns:
      The scores of the corpus and of each image, in the order of `references`.

    Raises:
      UserError (a ValueError): the two sides hold different images, there is no image, an image has
        no reference, words are not separated by single spaces, or a text holds a marker (`[START]`,
        `<end>`, `startseq`, `[UNK]` and the like).
    """
    _check_images(references, hypotheses)
    for image_id, captions in references.items():
        for caption in (*captions, hypotheses[image_id]):
            _check_words(image_id, caption)
    # pycocoevalcap asserts lists, and pairs the two sides by position: one order for both.
    gts = {image_id: list(captions) for image_id, captions in references.items()}
    res = {image_id: [hypotheses[image_id]] for image_id in references}
    bleus, sentence_bleus = _bleu(gts, res)
    rouge_l, image_rouges = Rouge().compute_score(gts, res)
    cider, image_ciders = _cider(gts, res)
    per_image = {
        image_id: {"bleu4": float(b), "rouge_l": float(r), "cider": float(c)}
        for image_id, b, r, c in zip(gts, sentence_bleus, image_rouges, image_ciders, strict=True)
    }
    return Scores(*bleus, float(rouge_l), float(cider), len(gts), per_image)


def read_all(workdir: str) -> dict[str, dict[str, float | int | str]]:
    """Returns the metrics.json of every split that was evaluated in a workdir."""
    found = {}
    for path in sorted(glob.glob(os.path.join(glob.escape(workdir), "eval", "*", "metrics.json"))):
        with open(path, encoding="utf-8") as file:
            found[os.path.basename(os.path.dirname(path))] = json.load(file)
    return found


def table(workdirs: Sequence[str]) -> str:
    """Returns a table of all scores found in `workdirs`, a line per run and split.

    Raises:
      UserError: a workdir holds none.
    """
    names = ("bleu1", "bleu2", "bleu3", "bleu4", "rouge_l", "cider")
    lines = [" ".join([f"{'run':24} {'split':6} {'images':>6}", *(f"{n:>7}" for n in names)])]
    for workdir in workdirs:
        found = read_all(workdir)
        if not found:
            raise UserError(f"{workdir} holds no scores: run `imcap eval` first")
        for split, scores in found.items():
            figures = " ".join(f"{scores[name]:7.3f}" for name in names)
            lines.append(f"{workdir:24} {split:6} {scores['images']:6} {figures}")
    return "\n".join(lines)


def diversity(hypotheses: Mapping[str, str]) -> dict[str, float | int]:
    """Tells how varied captions are: a captioner that says the same of every photo shows here.

    Args:
      hypotheses: image_id -> caption, words separated by single spaces.

    Returns:
      `distinct_captions` (count), `mean_words` (words per caption) and `vocabulary_used` (distinct
      words over all captions); zeros where there is no caption.
    """
    captions = [caption.split() for caption in hypotheses.values()]
    return {
        "distinct_captions": len({tuple(words) for words in captions}),
        "mean_words": sum(map(len, captions)) / max(1, len(captions)),
        "vocabulary_used": len({word for words in captions for word in words}),
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


def _bleu(
    gts: Mapping[str, list[str]], res: Mapping[str, list[str]]
) -> tuple[list[float], list[float]]:
    """Returns corpus BLEU-1..4, and each image's smoothed sentence BLEU-4."""
    references = [[caption.split() for caption in captions] for captions in gts.values()]
    hypotheses = [captions[0].split() for captions in res.values()]
    add_one = bleu_score.SmoothingFunction().method2
    sentences = [
        bleu_score.sentence_bleu(captions, hypothesis, smoothing_function=add_one)
        for captions, hypothesis in zip(references, hypotheses, strict=True)
    ]
    return _corpus_bleu(references, hypotheses), sentences


def _corpus_bleu(references: list[list[list[str]]], hypotheses: list[list[str]]) -> list[float]:
    """Returns NLTK's corpus BLEU-1..4 with exact precisions (see the module's docstring)."""
    too_short = [sum(len(words) < n for words in hypotheses) for n in _ORDERS]
    matches = [0] * len(_ORDERS)

    def exact_precisions(counted, **_):
        # NLTK takes the logarithm of what this returns, so zeros are put in afterwards.
        matches[:] = [p.numerator for p in counted]
        return [
            p.numerator / (p.denominator - short) if p.numerator else sys.float_info.min
            for p, short in zip(counted, too_short, strict=True)
        ]

    bleus = bleu_score.corpus_bleu(
        references, hypotheses, _UNIFORM_WEIGHTS, smoothing_function=exact_precisions
    )
    return [
        float(bleu) if all(matches[:n]) else 0.0 for n, bleu in zip(_ORDERS, bleus, strict=True)
    ]


def _cider(
    gts: Mapping[str, list[str]], res: Mapping[str, list[str]]
) -> tuple[float, Sequence[float]]:
    """Returns the mean CIDEr-D and each image's."""
    if not any(caption for captions in gts.values() for caption in captions):
        return 0.0, [0.0] * len(gts)  # the scorer fails where no reference has a word
    return Cider().compute_score(gts, res)
