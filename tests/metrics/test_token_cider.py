"""CIDEr-D of token ids is that of pycocoevalcap on words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocoevalcap.cider.cider_scorer import CiderScorer
from token_captions import IDS, VOCABULARY, Captions, pad_all, random_images

from imcap.metrics.document_frequencies import DocumentFrequencies
from imcap.metrics.token_cider import caption_norms, cider_d


def coco_scores(hypotheses: Captions, references: Sequence[Captions]) -> np.ndarray:
    """Returns the CIDEr-D of one hypothesis for each image, whose references are the documents."""
    scorer = CiderScorer()
    for hypothesis, captions in zip(hypotheses, references, strict=True):
        words = [" ".join(map(str, caption)) for caption in (hypothesis, *captions)]
        scorer += (words[0], words[1:])
    scorer.compute_doc_freq()
    return np.array(scorer.compute_cider())


CAPTION = st.lists(st.sampled_from(IDS), max_size=7)


@st.composite
def corpora(draw: st.DrawFn) -> tuple[list[Captions], list[Captions]]:
    """Returns hypotheses and references of each of several images."""
    images, h, r = (draw(st.integers(1, most)) for most in (4, 3, 3))

    def captions(count: int) -> list[Captions]:
        return [draw(st.lists(CAPTION, min_size=count, max_size=count)) for _ in range(images)]

    return captions(h), captions(r)


@settings(deadline=None, max_examples=80)
@given(corpora())
def test_figures_are_those_of_pycocoevalcap(corpus):
    hypotheses, references = corpus
    padded = pad_all(references)
    frequencies = DocumentFrequencies.count([padded], VOCABULARY)
    found = cider_d(pad_all(hypotheses), padded, frequencies).numpy()
    assert found.shape == (len(references), len(hypotheses[0]), len(references[0]))
    for column in range(found.shape[1]):
        expected = coco_scores([captions[column] for captions in hypotheses], references)
        np.testing.assert_allclose(found[:, column].mean(axis=1), expected, rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def references() -> list[Captions]:
    return random_images(seed=1, images=50, captions=5, longest=20)


@pytest.fixture(scope="module")
def frequencies(references) -> DocumentFrequencies:
    return DocumentFrequencies.count([pad_all(references)], VOCABULARY)


def test_figures_in_a_graph_are_those_of_pycocoevalcap(references, frequencies):
    hypotheses = random_images(seed=2, images=50, captions=4, longest=24)
    unknown = [[77, 78, 79, 80, 81]]  # Of no reference, beside words of which some are.
    hypotheses = [[*captions[:3], [*captions[3], *unknown[0]]] for captions in hypotheses]
    graph = tf.function(lambda h, r: cider_d(h, r, frequencies), autograph=False)
    found = graph(pad_all(hypotheses), pad_all(references)).numpy()
    for column in range(4):
        expected = coco_scores([captions[column] for captions in hypotheses], references)
        assert expected.max() > 0.1
        np.testing.assert_allclose(found[:, column].mean(axis=1), expected, rtol=0, atol=1e-5)


def test_known_norms_and_smaller_batches_change_nothing(references, frequencies):
    hypotheses, padded = pad_all(random_images(3, 50, 4, 24)), pad_all(references)
    everything = cider_d(hypotheses, padded, frequencies).numpy()
    norms = caption_norms(padded, frequencies)
    np.testing.assert_array_equal(cider_d(hypotheses, padded, frequencies, norms), everything)
    alone = np.stack([cider_d(hypotheses[i : i + 1], padded[i : i + 1], frequencies)[0]
                      for i in range(50)])  # fmt: skip
    np.testing.assert_allclose(alone, everything, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.int64])
def test_a_caption_scores_10_with_itself_and_0_without_a_word(references, frequencies, dtype):
    captions = pad_all(references)[:, :1].astype(dtype)
    with_itself = cider_d(captions, captions, frequencies)[:, 0, 0]
    # Each order counts a quarter, if the caption has n-grams of it that not every image has.
    orders = np.count_nonzero(caption_norms(captions, frequencies), axis=2)[:, 0]
    assert {0, 4} < set(orders.tolist())
    np.testing.assert_allclose(with_itself, orders * 2.5, rtol=0, atol=1e-4)
    nothing = np.zeros_like(captions)
    assert not np.any(cider_d(nothing, captions, frequencies))
    assert not np.any(cider_d(captions, nothing, frequencies))
    assert cider_d(captions[:0], captions[:0], frequencies).shape == (0, 1, 1)


def test_ids_out_of_range_are_padding(references, frequencies):
    captions = pad_all(references)
    garbage = captions.astype(np.int64)
    garbage[captions == 0] = np.resize([-1, 65_536, -(2**31), 2**31, 2**40], garbage.shape)[
        captions == 0
    ]
    expected = cider_d(captions, captions, frequencies).numpy()
    assert np.isfinite(expected).all()
    np.testing.assert_array_equal(cider_d(garbage, garbage, frequencies), expected)
