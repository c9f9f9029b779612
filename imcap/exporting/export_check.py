"""Whether an export gives the checkpoint's captions in a fresh process, and how fast it is."""

from __future__ import annotations

import base64
import dataclasses
import itertools
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from imcap import datasets, filesystem
from imcap.datasets import scenes
from imcap.datasets.base import Problems
from imcap.datasets.parted import PartedReader
from imcap.errors import UserError
from imcap.exporting import fresh_process

IMAGES = 16
_LISTED = 20_000  # Rows of the data set that are read at most in search of dev images.


class _Model(Protocol):
    def caption(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """See `CaptionModel.caption`."""

    def score(self, image_bytes: tf.Tensor, caption: tf.Tensor) -> dict[str, tf.Tensor]:
        """See `CaptionModel.score`."""


class Tolerance(NamedTuple):
    """How far an export may be from its checkpoint.

    Attributes:
      captions: share of the images that may get other captions.
      scores: difference of the two scores of one caption, mean log-probabilities per token.
    """

    captions: float
    scores: float


EXACT = Tolerance(0.0, 1e-3)
# Rounded weights or convolutions change captions whose probabilities are nearly equal.
ROUNDED = Tolerance(0.5, 0.1)


@dataclasses.dataclass(frozen=True)
class Check:
    """What was compared and measured.

    Attributes:
      images: how many were captioned, and `source`: what they are.
      others: how many got another caption than the checkpoint's.
      megabytes: of the folder's files.
      load_seconds: of `tf.saved_model.load`.
      first_seconds: of the first caption, which builds what later calls use.
      steady_seconds: the median of further captions of one image.
      difference: the largest difference of the two scores of one caption.
    """

    images: int
    source: str
    others: int
    megabytes: float
    load_seconds: float
    first_seconds: float
    steady_seconds: float
    difference: float

    def describe(self) -> str:
        """Returns Markdown for MODEL_CARD.md."""
        return f"""## Check

Loaded with TensorFlow alone in a fresh process on {os.cpu_count()} CPU cores, the export gave the
checkpoint's captions of {self._describe_images()}. The \
scores that both give to the export's captions differ by at most {self.difference:.1g}.

| | |
| --- | --- |
| size | {self.megabytes:.1f} MB |
| loading | {self.load_seconds:.1f} s |
| first caption | {self.first_seconds:.2f} s |
| further captions, one image at a time | {1000 * self.steady_seconds:.0f} ms |
"""

    def _describe_images(self) -> str:
        if not self.others:
            return f"{self.images} {self.source}"
        same = self.images - self.others
        return f"{same} of {self.images} {self.source}, and other ones of {self.others}"


def run(folder: str, model: _Model, dataset: ConfigDict, tolerance: Tolerance = EXACT) -> Check:
    """Captions images with an export and with the model that it was made of.

    Args:
      folder: the SavedModel.
      model: of the checkpoint.
      dataset: a config's `dataset` part, whose dev images are taken; drawn ones where it cannot be
        read.
      tolerance: by how much its captions and scores may differ.

    Raises:
      UserError: the export cannot be loaded, or its captions or scores are others.
    """
    images, source = find_images(dataset)
    found = _run_fresh_process(folder, images)
    expected = model.caption(tf.constant(images))
    others = _count_others(expected["caption"], found["captions"], source, tolerance)
    if others:
        expected = model.score(tf.constant(images), tf.constant(found["captions"]))
    scores = np.array([found["scores"], found["scores_of_captions"]])
    difference = float(np.abs(scores - expected["score"].numpy()).max())
    if difference > tolerance.scores:
        raise UserError(f"the export's scores differ from the checkpoint's by {difference:.3g}")
    figures = {name: found[f"{name}_seconds"] for name in ("load", "first", "steady")}
    seconds = {f"{name}_seconds": value for name, value in figures.items()}
    return Check(len(images), source, others, _megabytes(folder), **seconds, difference=difference)


def _count_others(
    expected: tf.Tensor, found: Sequence[str], source: str, tolerance: Tolerance
) -> int:
    """Returns how many captions differ; raises UserError if these are too many."""
    captions = [caption.decode() for caption in expected.numpy()]
    others = [n for n, both in enumerate(zip(captions, found, strict=True)) if both[0] != both[1]]
    if len(others) > tolerance.captions * len(captions):
        first = others[0]
        count = f" ({len(others)} of {len(captions)} differ)" if tolerance.captions else ""
        raise UserError(
            f"the export gives another caption of image {first} of the {source} than the "
            f"checkpoint: {found[first]!r} instead of {captions[first]!r}{count}"
        )
    return len(others)


def find_images(dataset: ConfigDict) -> tuple[list[bytes], str]:
    """Returns encoded images and what they are; see `run`."""
    try:
        dev = (image.path for image in _list(dataset) if image.split == "dev")
        found = [filesystem.read_image(path) for path in itertools.islice(dev, IMAGES)]
    except (UserError, OSError):
        found = []
    return (found, "dev images") if found else (_draw(), "drawn images")


def _list(dataset: ConfigDict) -> Iterable[datasets.CaptionedImage]:
    """Returns the first images of a data set."""
    reader = datasets.build_reader(dataset)
    if isinstance(reader, PartedReader):  # Its `read` gathers all rows first.
        return reader.sample(_LISTED)
    return itertools.islice(reader.read(Problems()), _LISTED)


def _draw() -> list[bytes]:
    rng = random.Random(0)
    pairs, _ = scenes.combinations(0)
    return [scenes.draw(scenes.make_scene(rng, pairs, pair)) for pair in pairs[:IMAGES]]


def _run_fresh_process(folder: str, images: Sequence[bytes]) -> dict[str, Any]:
    lines = b"".join(base64.b64encode(image) + b"\n" for image in images)
    command = [sys.executable, fresh_process.__file__, folder]
    ended = subprocess.run(command, input=lines, capture_output=True, check=False)
    if ended.returncode:
        reason = ended.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise UserError(f"the export cannot be loaded in a fresh process: {reason}")
    return json.loads(ended.stdout)


def _megabytes(folder: str) -> float:
    paths = [os.path.join(root, name) for root, _, names in os.walk(folder) for name in names]
    return sum(os.path.getsize(path) for path in paths) / 1e6
