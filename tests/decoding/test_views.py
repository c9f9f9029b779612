"""Both views of an image: against averaging the probabilities for each of them."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from ml_collections import ConfigDict
from record_infos import make_info
from refusals import refusal
from small_decoders import (
    CHANNELS,
    POSITIONS,
    VOCABULARY,
    make_decoder,
    make_features,
    make_tokens,
    stepped,
    teacher_forced,
)

from imcap import records
from imcap.decoding import attention, views
from imcap.decoding.ensemble import Ensemble

GRID = (2, 3)  # Of POSITIONS.
BOTH, ONE = (ConfigDict({"both_views": value}) for value in (True, False))


def both_views(decoder):
    return views.prepare(decoder, BOTH, GRID)


@pytest.fixture(scope="module")
def features() -> list[tf.Tensor]:
    """Of an image and of its mirror image."""
    return [make_features(0), make_features(1)]


def softmax(logits: np.ndarray) -> np.ndarray:
    return tf.nn.softmax(tf.constant(logits, tf.float64)).numpy()


@pytest.mark.parametrize("compute", [stepped, teacher_forced])
@pytest.mark.parametrize("kind", ["attention", "inject", "merge"])
def test_probabilities_are_the_mean_of_those_for_each_view(features, kind, compute):
    decoder, tokens = make_decoder(kind), make_tokens()
    found = compute(both_views(decoder), tf.concat(features, axis=1), tokens)
    expected = np.mean([softmax(compute(decoder, view, tokens)) for view in features], axis=0)
    np.testing.assert_allclose(softmax(found), expected, atol=1e-6)
    assert found.shape[-1] == VOCABULARY


def test_members_of_an_ensemble_count_equally_with_both_views(features):
    members, tokens = [make_decoder("attention"), make_decoder("inject", layers=2)], make_tokens()
    found = stepped(both_views(Ensemble(members)), tf.concat(features, axis=1), tokens)
    single = [softmax(stepped(m, view, tokens)) for m in members for view in features]
    np.testing.assert_allclose(softmax(found), np.mean(single, axis=0), atol=1e-6)


def test_one_view_changes_nothing():
    decoder = make_decoder("attention")
    assert views.prepare(decoder, ONE, GRID) is decoder
    pixels = tf.random.stateless_uniform([2, 4, 4, 3], [0, 0])
    np.testing.assert_array_equal(views.encode(columns, pixels, ONE), columns(pixels))


def columns(pixels: tf.Tensor) -> tf.Tensor:
    """An encoder whose positions are the columns of the image."""
    return tf.reduce_mean(pixels, axis=1)


def test_the_second_half_of_the_features_is_of_the_mirror_image():
    pixels = tf.random.stateless_uniform([2, 4, 5, 3], [0, 0])
    found = views.encode(columns, pixels, BOTH)
    np.testing.assert_allclose(found[:, :5], columns(pixels), atol=1e-6)
    np.testing.assert_allclose(found[:, 5:], columns(pixels)[:, ::-1], atol=1e-6)


def test_attention_over_the_mirror_image_is_turned_back(features):
    decoder, tokens = make_decoder("attention"), tf.constant(make_tokens()[:, 0, 1:])
    ensemble = both_views(decoder)
    assert attention.has_attention(ensemble, (2 * POSITIONS, CHANNELS))
    found = tf.function(
        lambda x: attention.attention_weights(ensemble, x, tokens), autograph=False
    )(tf.concat(features, axis=1))
    own, other = (attention.attention_weights(decoder, view, tokens).numpy() for view in features)
    turned = other.reshape(*other.shape[:2], *GRID)[..., ::-1].reshape(other.shape)
    np.testing.assert_allclose(found, (own + turned) / 2, atol=1e-6)


def test_reranking_compares_images_by_the_first_view(features):
    ensemble = both_views(make_decoder("inject"))
    np.testing.assert_array_equal(ensemble.encode(tf.concat(features, axis=1)), features[0])


def test_records_without_the_flipped_view_are_refused():
    splits = {"train": [records.FEATURES, records.FLIPPED], "dev": [records.FEATURES]}
    info = make_info(splits={split: {"views": keys} for split, keys in splits.items()})
    assert views.keys(info, "train", True) == (records.FEATURES, records.FLIPPED)
    assert views.keys(info, "dev", False) == views.keys(info, "train", False) == ("features",)
    line = refusal(views.keys, info, "dev", True)
    assert line.startswith("config.decode.both_views needs the flipped view of each image")
    assert "the split dev" in line and "--config.records.flip_eval" in line
