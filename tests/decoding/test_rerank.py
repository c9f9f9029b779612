"""The order of a beam: by agreement with its other captions, and with those of similar images."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from ml_collections import ConfigDict
from token_captions import Captions, coco_cider, pad_all, random_images

from imcap import config as config_lib
from imcap.decoding import rerank
from imcap.decoding.beam_search import SearchResult
from imcap.decoding.neighbors import NeighborIndex, pool
from imcap.metrics.document_frequencies import DocumentFrequencies
from imcap.text import END

BEAM, IMAGES, CHANNELS = 5, 12, 6


def settings(**values: object) -> ConfigDict:
    decode = config_lib.default().decode
    decode.update({f"rerank_{key}": value for key, value in values.items()})
    return decode


def make_result(beams: list[Captions], seed: int = 0) -> SearchResult:
    """Returns captions, each of which ends with END, with random ranks in descending order."""
    ended = [[[*caption, END] for caption in captions] for captions in beams]
    rng = np.random.default_rng(seed)
    ranks = -np.sort(rng.uniform(0, 3, (len(beams), len(beams[0]))), axis=1)
    scores = ranks / 2 + rng.uniform(-0.2, 0, ranks.shape)
    return SearchResult(*map(tf.constant, (pad_all(ended), *np.float32([scores, ranks]))))


def words(tokens: tf.Tensor) -> list[list[list[int]]]:
    return [[[int(t) for t in row if t not in (0, END)] for row in beam] for beam in tokens.numpy()]


def without_end(images: list[Captions]) -> list[Captions]:
    return [[[word for word in c if word != END] for c in captions] for captions in images]


@pytest.fixture(scope="module")
def training_captions() -> list[Captions]:
    return without_end(random_images(seed=1, images=IMAGES, captions=3, longest=8))


@pytest.fixture(scope="module")
def training_features() -> np.ndarray:
    shape = (IMAGES, 4, CHANNELS)
    return np.random.default_rng(5).normal(0, 1, shape).astype(np.float32)


@pytest.fixture(scope="module")
def index(training_captions, training_features) -> NeighborIndex:
    captions = pad_all(training_captions).astype(np.uint16)
    frequencies = DocumentFrequencies.count([captions], 65_536)
    return NeighborIndex.build(pool(training_features).numpy(), captions, frequencies, 4)


@pytest.fixture(scope="module")
def found() -> SearchResult:
    return make_result(without_end(random_images(seed=2, images=3, captions=BEAM, longest=8)))


def expected_agreement(found: SearchResult, training_captions: list[Captions]) -> np.ndarray:
    """Returns the expected CIDEr-D of each caption with the others of its beam, in plain loops."""
    probabilities = tf.nn.softmax(found.ranks).numpy()
    agreement = np.zeros((3, BEAM))
    for image, beam in enumerate(words(found.tokens)):
        for own in range(BEAM):
            others = [other for other in range(BEAM) if other != own]
            ciders = [coco_cider(beam[own], beam[other], training_captions) for other in others]
            agreement[image, own] = np.average(ciders, weights=probabilities[image, others])
    return agreement


def check_order(reranked: SearchResult, found: SearchResult, value: np.ndarray) -> None:
    """Checks that captions are in descending order of a value, and that this is their rank."""
    order = np.argsort(-value, axis=1)
    assert (order != np.arange(BEAM)).any()
    expected = [
        np.take_along_axis(x.numpy(), order, axis=1) for x in (found.scores, value_of(value))
    ]
    np.testing.assert_allclose(reranked.ranks, expected[1], atol=1e-4)
    np.testing.assert_array_equal(reranked.scores, expected[0])
    tokens = np.take_along_axis(found.tokens.numpy(), order[..., np.newaxis], axis=1)
    np.testing.assert_array_equal(reranked.tokens, tokens)


def value_of(value: np.ndarray) -> tf.Tensor:
    return tf.constant(value, tf.float32)


@pytest.mark.parametrize("weight", [0.0, 0.1])
def test_mbr_is_that_of_plain_loops(index, found, training_captions, weight):
    reranker = rerank.MinimumBayesRisk(index.frequencies, settings(score_weight=weight))
    value = expected_agreement(found, training_captions) + weight * found.scores.numpy()
    check_order(reranker(found, tf.zeros([3, 4, CHANNELS])), found, value)


@pytest.mark.parametrize("mbr_weight", [0.0, 0.3])
def test_consensus_is_that_of_plain_loops(
    index, found, training_captions, training_features, mbr_weight
):
    decode = settings(neighbors=5, sharpness=3.0, mbr_weight=mbr_weight)
    features = np.random.default_rng(6).normal(0, 1, (3, 4, CHANNELS)).astype(np.float32)
    value = 0.1 * found.scores.numpy()
    value = value + mbr_weight * expected_agreement(found, training_captions)
    cosines, nearest = (x.numpy() for x in index.nearest(features, 5))
    for image, beam in enumerate(words(found.tokens)):
        weights, captions = [], []
        for cosine, neighbor in zip(cosines[image], nearest[image], strict=True):
            captions += [caption for caption in training_captions[neighbor] if caption]
            weights += [np.exp(3 * cosine)] * (len(captions) - len(weights))
        for own in range(BEAM):
            ciders = [coco_cider(beam[own], caption, training_captions) for caption in captions]
            value[image, own] += np.average(ciders, weights=weights)
    check_order(rerank.Consensus(index, decode)(found, features), found, value)


def test_consensus_follows_the_image_that_is_similar():
    # Two kinds of images, of other channels and other captions; words 10 and 20 tell them apart.
    features = np.zeros((6, 2, 3), np.float32)
    features[:3, :, 0], features[3:, :, 1], features[..., 2] = 4.0, 4.0, 1.0
    features[:, 0, 2] += np.arange(6)
    captions = np.array(
        [[[10, 11, 12 + n]] for n in range(3)] + [[[20, 21, 22 + n]] for n in range(3)]
    )
    frequencies = DocumentFrequencies.count([captions], 100)
    index = NeighborIndex.build(pool(features).numpy(), captions.astype(np.uint16), frequencies, 2)
    found = make_result([[[30, 31], [20, 21], [10, 11]]] * 2)
    reranked = rerank.Consensus(index, settings(neighbors=2, mbr_weight=0.0))(
        found, features[[1, 4]] * 1.1
    )
    assert [beam[0] for beam in words(reranked.tokens)] == [[10, 11], [20, 21]]


def test_results_are_the_same_in_a_graph_and_alone(index, found, training_features):
    reranker = rerank.Consensus(index, settings(neighbors=5))
    features = training_features[:3]
    eager = reranker(found, features)
    graph = tf.function(reranker, autograph=False)(found, features)
    np.testing.assert_array_equal(graph.tokens, eager.tokens)
    for image in range(3):
        alone = reranker(SearchResult(*(x[image : image + 1] for x in found)), features[[image]])
        np.testing.assert_array_equal(alone.tokens[0], eager.tokens[image])
        np.testing.assert_allclose(alone.ranks[0], eager.ranks[image], atol=1e-4)
    empty = reranker(SearchResult(*(x[:0] for x in found)), features[:0])
    assert empty.tokens.shape[:2] == (0, BEAM)


def test_equal_captions_keep_the_order_of_the_search(index, training_features):
    found = make_result([[[5, 6, 7]] * BEAM])
    found = found._replace(ranks=tf.fill([1, BEAM], -1.0))  # Scores tell the captions apart.
    for reranker in (
        rerank.MinimumBayesRisk(index.frequencies, settings(score_weight=0.0)),
        rerank.Consensus(index, settings(score_weight=0.0)),
    ):
        reranked = reranker(found, training_features[:1])
        assert len(set(reranked.ranks.numpy()[0].tolist())) == 1
        np.testing.assert_array_equal(reranked.scores, found.scores)


@pytest.mark.parametrize("length_penalty", [1.0, 6.0])
def test_sequences_that_fill_a_beam_stay_last_and_count_for_nothing(
    index, training_features, length_penalty
):
    found = make_result([[[5, 6, 7], [5, 6, 8], [5, 6, 7]]])
    total = -1e9  # Of four tokens.
    scores, ranks = (
        tf.where([[False, False, True]], total / 4**power, found.ranks)
        for power in (1.0, length_penalty)
    )
    filled = SearchResult(found.tokens, scores, ranks)
    alone = SearchResult(*(x[:, :2] for x in filled))
    for reranker in (
        rerank.MinimumBayesRisk(index.frequencies, settings(score_weight=0.0)),
        rerank.Consensus(index, settings(score_weight=0.0)),
    ):
        whole, part = (reranker(x, training_features[:1]) for x in (filled, alone))
        assert words(whole.tokens)[0] == [*words(part.tokens)[0], [5, 6, 7]]
        np.testing.assert_allclose(whole.ranks[0, :2], part.ranks[0], atol=1e-5)


def test_a_beam_of_one_is_unchanged(index, training_features):
    found = make_result([[[5, 6, 7]]])
    for reranker in (
        rerank.keep_order,
        rerank.MinimumBayesRisk(index.frequencies, settings()),
        rerank.Consensus(index, settings()),
    ):
        np.testing.assert_array_equal(reranker(found, training_features[:1]).tokens, found.tokens)
