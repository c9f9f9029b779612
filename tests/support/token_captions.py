"""Captions as token ids, among them ids at the limits of what a key of an n-gram has room for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pycocoevalcap.cider.cider_scorer import CiderScorer, cook_refs, cook_test

Captions = Sequence[Sequence[int]]
VOCABULARY = 65_536
IDS = (1, 2, 3, 255, 256, 32_767, 32_768, 65_535)


def pad(captions: Captions, length: int) -> np.ndarray:
    """Returns int32 [captions, length], 0 after the end of each."""
    return np.array([[*c, *[0] * (length - len(c))] for c in captions], np.int32)


def pad_all(images: Sequence[Captions]) -> np.ndarray:
    """Returns int32 [images, captions, length], of as many captions of each image."""
    length = max(len(caption) for captions in images for caption in captions)
    return np.stack([pad(captions, length) for captions in images])


def random_images(seed: int, images: int, captions: int, longest: int) -> list[Captions]:
    """Returns captions whose words and whose numbers of repeats vary; some have no word."""
    rng = np.random.default_rng(seed)

    def caption() -> list[int]:
        return rng.choice(IDS[: rng.integers(2, 8)], rng.integers(0, longest + 1)).tolist()

    return [[caption() for _ in range(captions)] for _ in range(images)]


def coco_cider(
    hypothesis: Sequence[int], reference: Sequence[int], images: Sequence[Captions]
) -> float:
    """Returns pycocoevalcap's CIDEr-D of two captions with the document frequencies of others."""
    scorer = CiderScorer()
    for captions in images:
        scorer += ("", [_text(caption) for caption in captions])
    scorer.compute_doc_freq()
    scorer.ctest = [cook_test(_text(hypothesis))] * len(images)
    scorer.crefs = [cook_refs([_text(reference)])] * len(images)
    return float(scorer.compute_cider()[0])


def _text(caption: Sequence[int]) -> str:
    return " ".join(map(str, caption))
