"""Checks of the manifest that are made before any image is encoded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import apache_beam as beam
from absl import logging
from apache_beam.metrics import Metrics

from beam_jobs import heartbeats
from beam_jobs.transforms import failure_limit
from imcap.datasets import CaptionedImage
from imcap.datasets.base import MISSING_IMAGES
from imcap.errors import UserError

Problem = tuple[str, int, str]


class CheckManifest(beam.PTransform):
    """Rows to one element, None, once they are accepted; the counts go to the progress files."""

    def __init__(
        self,
        problems: beam.PCollection[Problem],
        folder: str,
        max_failures: str,
        *,
        needs_train: bool,
    ) -> None:
        """`needs_train`: whether the vocabulary is made of the train split's captions."""
        super().__init__()
        self._problems, self._folder = problems, folder
        self._max_failures, self._needs_train = max_failures, needs_train

    def expand(self, rows: beam.PCollection[CaptionedImage]) -> beam.PCollection[None]:
        counts = (
            rows
            | "Split" >> beam.Map(lambda row: row.split)
            | "CountSplits" >> beam.combiners.Count.PerElement()
            | "CollectSplits" >> beam.combiners.ToDict()
        )
        return counts | "Check" >> beam.Map(
            _check,
            beam.pvalue.AsIter(self._problems),
            self._folder,
            self._max_failures,
            self._needs_train,
        )


def _check(
    splits: dict[str, int],
    problems: Iterable[Problem],
    folder: str,
    max_failures: str,
    needs_train: bool,
) -> None:
    found = [(count, first) for kind, count, first in problems if kind == MISSING_IMAGES]
    missing = sum(count for count, _ in found)
    heartbeats.write_totals(folder, splits, missing)
    check_splits(splits, needs_train=needs_train)
    if missing:
        Metrics.counter("imcap", "images_failed").inc(missing)
        reasons = [f"{MISSING_IMAGES}, such as {min(first for _, first in found)}"] * missing
        failure_limit.check(folder, max_failures, reasons)


def check_splits(splits: Mapping[str, int], *, needs_train: bool) -> None:
    """Raises UserError if there is nothing to train on."""
    if needs_train and not splits.get("train"):
        counts = ", ".join(f"{split} {count}" for split, count in sorted(splits.items()))
        raise UserError(
            f"no image is in the split train ({counts}): give some images that split, or, for "
            "records that are only to be scored, name the vocabulary with "
            "--config.text.vocabulary=FILE"
        )


def warn_without_dev(splits: Mapping[str, int]) -> None:
    """Logs a warning if there is no dev split, which training scores itself on."""
    if not splits.get("dev"):
        counts = ", ".join(f"{split} {count}" for split, count in sorted(splits.items()))
        logging.warning(
            "no image is in the split dev (%s): training will not score captions, and "
            "`imcap eval` needs another --split",
            counts,
        )
