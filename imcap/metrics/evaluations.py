"""The folders that `imcap eval` writes, read for a comparison of two of them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

from imcap import filesystem, metrics
from imcap.errors import UserError
from imcap.metrics import files

_AGAIN = "run `imcap eval` again"


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What an evaluation has written.

    Attributes:
      folder: where it lies.
      captions: image_id -> the predicted caption, of the images with a reference.
      references: image_id -> the reference captions, standardized as scored.
      scores: the content of metrics.json: figures by metric key, settings by name.
    """

    folder: str
    captions: Mapping[str, str]
    references: Mapping[str, Sequence[str]]
    scores: files.Scores

    @property
    def settings(self) -> dict[str, Any]:
        """How the captions were made: split, beam size and the like, by name."""
        figures = {*metrics.METRICS, *metrics.OPTIONAL, "images", files.INTERVALS}
        return {name: value for name, value in self.scores.items() if name not in figures}


def find(path: str, split: str) -> str:
    """Returns an evaluation's folder.

    Args:
      path: the folder itself, or a run's.
      split: the name of the folder in a run's `eval/`, such as `dev` or `dev-consensus`.

    Raises:
      UserError: `path` is neither.
    """
    of_run = files.folder(path, split)
    for folder in (path, of_run):
        if os.path.isfile(os.path.join(folder, files.METRICS_FILE)):
            return folder
    there = list(files.read_scores(path))
    hint = f"; there are {', '.join(there)}: give --split" if there else ": run `imcap eval` first"
    raise UserError(f"neither {path} nor {of_run} holds {files.METRICS_FILE}{hint}")


def read(folder: str) -> Evaluation:
    """Reads an evaluation's folder.

    Raises:
      UserError: a file is missing or corrupted, or they are of different evaluations.
    """
    scores = _read_json(folder, files.METRICS_FILE, dict)
    references = _read_json(folder, files.REFERENCES_FILE, dict)
    rows = _read_json(folder, files.PREDICTIONS_FILE, list)
    try:
        captions = {str(row["image_id"]): str(row["caption"]) for row in rows}
    except (KeyError, TypeError) as error:
        path = os.path.join(folder, files.PREDICTIONS_FILE)
        raise UserError(f"{path} is corrupted: {_AGAIN}") from error
    references = {image_id: found for image_id, found in references.items() if found}
    if not references.keys() <= captions.keys():
        image_id = min(references.keys() - captions.keys())
        raise UserError(f"{folder}: image {image_id!r} has references but no caption: {_AGAIN}")
    captions = {image_id: captions[image_id] for image_id in references}
    return Evaluation(folder, captions, references, scores)


def _read_json(folder: str, name: str, kind: type) -> Any:
    path = os.path.join(folder, name)
    content = filesystem.read_json(path)
    if not isinstance(content, kind):
        raise UserError(f"{path} is missing or corrupted: {_AGAIN}")
    return content


def align(a: Evaluation, b: Evaluation) -> Evaluation:
    """Returns `b` with its images in the order of those of `a`.

    Raises:
      UserError: their images or the references of an image differ; names the first difference.
    """
    for one, other in ((a, b), (b, a)):
        if missing := sorted(one.references.keys() - other.references.keys()):
            raise UserError(
                f"{one.folder} has {len(one.references):,} images and {other.folder} "
                f"{len(other.references):,}: {len(missing):,} of the former, such as "
                f"{missing[0]!r}, are not in the latter; compare evaluations of the same images"
            )
    for image_id, references in a.references.items():
        if list(references) != list(b.references[image_id]):
            raise UserError(
                f"the references of image {image_id!r} differ: {list(references)} in {a.folder}, "
                f"{list(b.references[image_id])} in {b.folder}"
            )
    captions = {image_id: b.captions[image_id] for image_id in a.captions}
    return dataclasses.replace(b, captions=captions, references=a.references)
