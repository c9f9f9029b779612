"""METEOR 1.5 (Denkowski and Lavie, 2014), by its authors' program, which runs on Java.

pycocoevalcap's wheel holds the program and its English tables. It is run as the COCO evaluation
runs it (English, normalized), once for all captions, and has ended when the scores are there. It
returns the counts of each image; the scores are computed from them here as the program does, with
its weights, so that intervals need no further run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping

import numpy as np
from pycocoevalcap.meteor import meteor

from imcap.errors import UserError
from imcap.metrics.scores import MetricScore, Scorer
from imcap.metrics.significance import Statistics

_OPTIONS = ("-Xmx2G", "-Dfile.encoding=UTF-8", "-jar", meteor.METEOR_JAR)
_ARGUMENTS = ("-", "-", "-stdio", "-l", "en", "-norm")
_SEPARATOR = " ||| "
# The program's own for English. Of matches by exact word, stem, synonym and paraphrase:
_STAGE_WEIGHTS = np.array([1.0, 0.6, 0.8, 0.6])
_ALPHA, _BETA, _GAMMA, _DELTA = 0.85, 0.2, 0.6, 0.75
# The counts of an image: words of caption and reference, those of them that are function words;
# for each stage the matched content words of both, the matched function words of both; chunks; the
# matched words of both.
_LENGTHS, _FUNCTION_WORDS, _STAGES, _CHUNKS = slice(0, 2), slice(2, 4), slice(4, 20), 20
_MATCHES = slice(21, 23)
_COUNTS = 23


def build_scorer(asked: bool) -> Scorer:
    """Returns `score_meteor`; `asked`: the setting, which is True.

    Raises:
      UserError: Java or the program is missing.
    """
    if shutil.which("java") is None:
        raise UserError(
            "config.eval.meteor=True needs Java, and there is no java in PATH: install a Java "
            "runtime, or leave METEOR out"
        )
    if not os.path.isfile(jar := os.path.join(_folder(), meteor.METEOR_JAR)):
        raise UserError(
            f"config.eval.meteor=True: {jar}: no such file; pycocoevalcap's wheel holds it: "
            "pip install --force-reinstall --no-deps pycocoevalcap"
        )
    return score_meteor


def score_meteor(
    references: Mapping[str, list[str]], hypotheses: Mapping[str, str]
) -> dict[str, MetricScore]:
    """Returns `meteor` of the corpus and of each image, in [0, 1].

    The corpus figure is computed from the counts of all images together, as the program does; it is
    not the mean of the images' own.

    Raises:
      UserError: the program fails.
    """
    lines = [
        _SEPARATOR.join(map(_clean, ["SCORE", *captions, hypotheses[image_id]]))
        for image_id, captions in references.items()
    ]
    statistics = Statistics(_without_perfect_chunks(_run(lines)), _combine)
    own = _combine(statistics.per_image).tolist()
    return {"meteor": MetricScore(statistics.score(), own, statistics=statistics)}


def _folder() -> str:
    return os.path.dirname(os.path.abspath(meteor.__file__))


def _clean(caption: str) -> str:
    """Returns a caption that is one field of one line."""
    return " ".join(caption.replace("|||", " ").split())


def _run(lines: list[str]) -> np.ndarray:
    """Returns the program's counts, a line each: float64 [lines, 23]."""
    done = subprocess.run(
        ["java", *_OPTIONS, *_ARGUMENTS],
        cwd=_folder(), input="".join(f"{line}\n" for line in lines), encoding="utf-8",
        capture_output=True, check=False,
    )  # fmt: skip
    found = [line.split() for line in done.stdout.splitlines()]
    if done.returncode or [len(counts) for counts in found] != [_COUNTS] * len(lines):
        reason = [*done.stderr.strip().splitlines(), f"status {done.returncode}"][0]
        raise UserError(f"METEOR's program failed (java {' '.join(_OPTIONS)}): {reason}")
    return np.array(found, np.float64)


def _without_perfect_chunks(counts: np.ndarray) -> np.ndarray:
    """Returns counts with no chunk where all words match in order: the program leaves these out."""
    stages = counts[:, _STAGES].reshape(-1, 4, 2, 2)  # Image, stage, kind of word, side.
    is_whole = np.all(stages.sum(axis=(1, 2)) == counts[:, _LENGTHS], axis=1)
    counts[is_whole & (counts[:, _CHUNKS] == 1), _CHUNKS] = 0
    return counts


def _combine(sums: np.ndarray) -> np.ndarray:
    """Returns the score of summed counts, float64 [..., 23] to [...]."""
    kinds = np.array([_DELTA, 1 - _DELTA])  # Weights of content and function words.
    stages = sums[..., _STAGES].reshape(*sums.shape[:-1], 4, 2, 2)
    matches = np.einsum("...wks,w,k->...s", stages, _STAGE_WEIGHTS, kinds)
    function_words = sums[..., _FUNCTION_WORDS]
    content_words = sums[..., _LENGTHS] - function_words
    shares = _divide(matches, kinds[0] * content_words + kinds[1] * function_words)
    precision, recall = shares[..., 0], shares[..., 1]
    f_mean = _divide(precision * recall, _ALPHA * precision + (1 - _ALPHA) * recall)
    fragmentation = _divide(sums[..., _CHUNKS], sums[..., _MATCHES].mean(axis=-1))
    return f_mean * (1 - _GAMMA * fragmentation**_BETA)


def _divide(numerators: np.ndarray, denominators: np.ndarray) -> np.ndarray:
    """Returns quotients, 0 where the denominator is 0."""
    is_zero = denominators == 0
    return np.where(is_zero, 0.0, numerators / np.where(is_zero, 1.0, denominators))
