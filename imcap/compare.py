"""Two evaluations of the same images, by every metric and image by image."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from absl import logging

from imcap import config as config_lib
from imcap import filesystem, metrics
from imcap.config import checks
from imcap.errors import UserError
from imcap.metrics import evaluations, files, significance, tables
from imcap.metrics.evaluations import Evaluation
from imcap.metrics.scores import Scorer, Scores, build_optional_scorers, score_captions
from imcap.reports import comparison, thumbnails

_JSON, _PAGE = "compare.json", "compare.html"
_COLUMNS = ("A", "B", "B - A", "95 % interval", "p")
_TOLERANCE = 1e-6  # Between the scores of metrics.json and those of the captions beside it.


@dataclasses.dataclass(frozen=True)
class RunComparison:
    """Two evaluations, A and B.

    Attributes:
      a, b: what they wrote.
      scores: of A and of B, computed from what they wrote.
      comparisons: metric key -> the difference, its interval and its p-value.
      trained: settings that the weights or the features depend on and that differ between the
        runs' config.json, by dotted key, with both values.
      page: the path of compare.html.
    """

    a: Evaluation
    b: Evaluation
    scores: tuple[Scores, Scores]
    comparisons: Mapping[str, significance.Comparison]
    trained: Mapping[str, tuple[Any, Any]]
    page: str

    @property
    def settings(self) -> dict[str, tuple[Any, Any]]:
        """The settings of both evaluations by name, None where one does not tell, and those of
        `trained`."""
        a, b = self.a.settings, self.b.settings
        return {name: (a.get(name), b.get(name)) for name in (a | b)} | dict(self.trained)

    @property
    def differing(self) -> dict[str, tuple[Any, Any]]:
        """Those of `settings` that differ."""
        return {name: (a, b) for name, (a, b) in self.settings.items() if a != b}

    @property
    def num_same(self) -> int:
        """The number of images for which both have the same caption."""
        return sum(self.a.captions[key] == self.b.captions[key] for key in self.a.captions)


def compare_runs(a: str, b: str, *, split: str = "dev", output_dir: str = "") -> RunComparison:
    """Compares two evaluations of the same images; writes compare.json and compare.html.

    The scores are computed again from the captions: those that are always scored, and those
    optional ones that both evaluations have and that need no file of the user's.

    Args:
      a, b: folders of runs or of evaluations (`RUN/eval/SPLIT`).
      split: the name of the evaluations in the runs' `eval/`.
      output_dir: where to write; empty: in B's evaluation.

    Raises:
      UserError: one is no evaluation, its files are missing, corrupted or do not belong together,
        or the two are of different images or references.
    """
    first, second = (evaluations.read(evaluations.find(path, split)) for path in (a, b))
    second = evaluations.align(first, second)
    scorers = _optional_scorers(first, second)
    scores = _score(first, scorers), _score(second, scorers)
    found = significance.compare(scores[0].statistics, scores[1].statistics)
    folder = output_dir or second.folder
    trained = _trained_differently(first.folder, second.folder)
    result = RunComparison(first, second, scores, found, trained, os.path.join(folder, _PAGE))
    with filesystem.writing_to(folder):
        os.makedirs(folder, exist_ok=True)
    filesystem.write_json(os.path.join(folder, _JSON), _as_dict(result), indent=1)
    _write_page(result)
    return result


def _optional_scorers(a: Evaluation, b: Evaluation) -> list[Scorer]:
    """Returns those of the optional metrics that both have; a reason is logged where one is left
    out."""
    scorers = []
    for key in metrics.OPTIONAL:
        settings, name = config_lib.default().eval, metrics.setting(key)
        if key not in a.scores or key not in b.scores or settings[name] is not False:
            continue
        settings[name] = True
        try:
            scorers += [one for one in build_optional_scorers(settings) if one not in scorers]
        except UserError as error:
            logging.warning("%s is not compared: %s", metrics.label(key), error)
    return scorers


def _score(one: Evaluation, scorers: list[Scorer]) -> Scores:
    scores = score_captions(one.references, one.captions, scorers)
    for key, value in scores.corpus.items():
        written = one.scores.get(key, value)
        if not isinstance(written, int | float) or abs(written - value) > _TOLERANCE:
            raise UserError(
                f"{one.folder}: {files.METRICS_FILE} has {key}={written}, but the captions in "
                f"{files.PREDICTIONS_FILE} have {value:.6f}: run `imcap eval` again"
            )
    return scores


def _trained_differently(a: str, b: str) -> dict[str, tuple[Any, Any]]:
    """Returns the `trained` of two evaluations' folders; nothing where one is not in a run's."""
    old, new = (config_lib.read(files.workdir(folder)) for folder in (a, b))
    if old is None or new is None:
        return {}
    return {
        key: (one, other) for key, one, other in checks.differences(old, new, checks.CHANGEABLE)
    }


def format_comparison(result: RunComparison) -> str:
    """Returns the text that `imcap compare` prints: a table, and what else differs."""
    rows = {metrics.label(key): _cells(result, key) for key in result.comparisons}
    width = max(map(len, rows))
    lines = []
    for label, cells in {"": list(_COLUMNS), **rows}.items():
        a, b, difference, interval, p_value = cells
        lines.append(f"{label:{width}} {a:>8} {b:>8} {difference:>8} {interval:^19} {p_value:>7}")
    lines += [f"A: {result.a.folder}", f"B: {result.b.folder}"]
    lines += [f"{name}: A {_show(a)}, B {_show(b)}" for name, (a, b) in result.differing.items()]
    lines.append(f"{len(result.a.captions):,} images, {result.num_same:,} with the same caption")
    return "\n".join(line.rstrip() for line in lines)


def _show(value: object) -> str:
    """Returns a setting as it is shown; a list is of an ensemble's members."""
    if isinstance(value, list):
        return "; ".join(map(str, value))
    return "not given" if value is None else str(value)


def _cells(result: RunComparison, key: str) -> list[str]:
    """Returns a metric's figures as they are shown, in the order of _COLUMNS."""
    found = result.comparisons[key]
    return [
        *(f"{scores.corpus[key]:.4f}" for scores in result.scores),
        f"{found.difference:+.4f}",
        tables.format_interval(found.interval, sign="+"),
        f"{found.p_value:.4f}",
    ]


def _as_dict(result: RunComparison) -> dict[str, Any]:
    """Returns the content of compare.json."""
    return {
        "a": {"folder": result.a.folder, **result.a.settings},
        "b": {"folder": result.b.folder, **result.b.settings},
        "differing_settings": {name: list(pair) for name, pair in result.differing.items()},
        "images": len(result.a.captions),
        "same_captions": result.num_same,
        "bootstrap_draws": significance.RESAMPLES,
        "exchanges": significance.PERMUTATIONS,
        "scores": {
            key: {
                "a": result.scores[0].corpus[key],
                "b": result.scores[1].corpus[key],
                "difference": found.difference,
                files.INTERVALS: list(found.interval),
                "p_value": found.p_value,
                "share_of_draws_where_b_is_higher": found.better,
            }
            for key, found in result.comparisons.items()
        },
    }


def _write_page(result: RunComparison) -> None:
    uris: dict[str, str] = {}
    for one in (result.a, result.b):
        uris |= thumbnails.read_embedded(os.path.join(one.folder, "report.html"))
    images = [
        comparison.ComparedImage(
            image_id=image_id,
            thumbnail=uris.get(image_id),
            captions=(caption, result.b.captions[image_id]),
            references=result.a.references[image_id],
            scores=(result.scores[0].per_image[image_id], result.scores[1].per_image[image_id]),
        )
        for image_id, caption in result.a.captions.items()
    ]
    comparison.write_comparison(
        result.page,
        title=f"{result.a.folder} and {result.b.folder}",
        columns=_COLUMNS,
        rows={metrics.label(key): _cells(result, key) for key in result.comparisons},
        settings={
            "folder": (result.a.folder, result.b.folder),
            **{name: (_show(a), _show(b)) for name, (a, b) in result.settings.items()},
        },
        images=images,
    )
