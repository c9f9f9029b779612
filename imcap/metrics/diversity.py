"""How varied captions are, without comparing them to references."""

from __future__ import annotations

from collections.abc import Mapping


def measure_diversity(hypotheses: Mapping[str, str]) -> dict[str, float | int]:
    """Measures how varied captions are; low values reveal one caption for every image.

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
