"""Random captions, and what pycocoevalcap's scorers return for them."""

from __future__ import annotations

import random

from imcap.metrics.scores import Scores

WORDS = ["a", "the", "dog", "cat", "man", "runs", "sits", "on", "in", "grass", "snow", "red", "and"]


def make_corpus(images, seed=0, references=(1, 6), words=(1, 12)):
    """Returns random references, and hypotheses that are a reference with some words replaced."""
    rng = random.Random(seed)

    def caption():
        return " ".join(rng.choices(WORDS, k=rng.randint(*words)))

    def reworded(text):
        return " ".join(rng.choice(WORDS) if rng.random() < 0.2 else word for word in text.split())

    refs = {f"{i}.jpg": [caption() for _ in range(rng.randint(*references))] for i in range(images)}
    return refs, {image_id: reworded(rng.choice(captions)) for image_id, captions in refs.items()}


def coco_score(scorer, refs, hyps, **options):
    """Returns what one of pycocoevalcap's scorers returns for the same captions."""
    gts = {image_id: list(captions) for image_id, captions in refs.items()}
    return scorer.compute_score(gts, {image_id: [hyps[image_id]] for image_id in refs}, **options)


def bleus(scores: Scores) -> list[float]:
    """Returns corpus BLEU-1 to BLEU-4."""
    return [scores.corpus[f"bleu{n}"] for n in (1, 2, 3, 4)]
