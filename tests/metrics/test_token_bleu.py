"""BLEU-4 of token ids is the words' smoothed sentence BLEU."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from imcap.metrics import token_bleu
from imcap.metrics.bleu import score_bleu


def to_words(rows: np.ndarray) -> list[str]:
    return [" ".join(str(token) for token in row[row > 0]) for row in rows]


def random_captions(rng, images: int, captions: int, length: int) -> np.ndarray:
    """Captions of 0 to `length` tokens out of few, so that n-grams match and repeat."""
    tokens = rng.integers(3, 7, (images, captions, length))
    lengths = rng.integers(0, length + 1, (images, captions, 1))
    return np.where(np.arange(length) < lengths, tokens, 0).astype(np.int32)


def test_bleu4_is_that_of_the_words():
    rng = np.random.default_rng(0)
    hypotheses, references = random_captions(rng, 40, 3, 9), random_captions(rng, 40, 4, 12)
    references[:, 0, 0] = 3  # At least one word.
    found = token_bleu.sentence_bleu4(tf.constant(hypotheses), tf.constant(references)).numpy()
    assert found.shape == (40, 3) and found.dtype == np.float32
    words = {str(i): [c for c in to_words(rows) if c] for i, rows in enumerate(references)}
    for column in range(3):
        captions = dict(zip(words, to_words(hypotheses[:, column]), strict=True))
        expected = score_bleu(words, captions)["bleu4"].per_image
        np.testing.assert_allclose(found[:, column], expected, atol=1e-6)
    assert found.max() > 0.2 and np.ptp(found) > 0.2


@pytest.mark.parametrize("length", [4, 9])
def test_a_reference_itself_scores_one_and_no_word_scores_zero(length):
    reference = np.arange(4, 4 + length)[None, None].astype(np.int32)
    hypotheses = np.concatenate([reference, np.zeros_like(reference)], axis=1)
    found = token_bleu.sentence_bleu4(tf.constant(hypotheses), tf.constant(reference)).numpy()
    np.testing.assert_allclose(found, [[1.0, 0.0]], atol=1e-6)
