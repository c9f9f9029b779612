"""Captions and scores of images in memory."""

from __future__ import annotations

from concurrent import futures
from pathlib import Path

import numpy as np
import pytest
from grey_model import OTHER, WHITE, png
from hypothesis import given, settings
from hypothesis import strategies as st

from imcap.errors import UserError
from imcap.serving.captioner import Caption, Captioner, Failure


def test_captions_have_scores_and_ranks(model):
    (answer,) = model.caption([png(64)])
    expected = (Caption("grey 64", -0.25, rank=-0.5), Caption(OTHER, 0.0, rank=-9.0))
    assert answer.captions == expected


def test_a_model_without_ranks_gives_rank_none(model_without_ranks):
    (answer,) = model_without_ranks.caption([png(64)])
    assert answer.captions == (Caption("grey 64", -0.25, None), Caption(OTHER, 0, None))


@pytest.fixture(scope="module")
def landscape_model(landscape_export) -> Captioner:
    """A trained captioner with attention."""
    return Captioner(landscape_export)


@pytest.fixture(scope="module")
def landscape_images(landscape_data) -> list[bytes]:
    """Four of its training images."""
    return [path.read_bytes() for path in sorted(landscape_data.rglob("*.jpg"))[:4]]


def test_the_captions_of_an_export_are_sorted_by_rank(landscape_model, landscape_images):
    for answer in landscape_model.caption(landscape_images):
        ranks = [caption.rank for caption in answer.captions]
        assert len(ranks) > 1
        assert ranks == sorted(ranks, reverse=True)


def test_more_images_than_a_batch_are_answered_in_order(model):
    levels = list(range(0, 110, 11))
    answers = model.caption([png(level) for level in levels])
    assert [answer.captions[0].caption for answer in answers] == [
        f"grey {level}" for level in levels
    ]


def test_no_images_give_no_answers(model):
    assert model.caption([]) == []
    assert model.score([], []) == []


def test_a_failure_has_a_reason_in_one_line(model):
    unknown, empty = model.caption([b"garbage", b""])
    assert unknown.reason.startswith("Unknown image file format.")
    assert "\n" not in unknown.reason
    assert empty == Failure("Input is empty.")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.one_of(st.integers(0, 200), st.binary(max_size=20)), max_size=13))
def test_a_bad_image_does_not_affect_the_others(model, images):
    encoded = [png(image) if isinstance(image, int) else image for image in images]
    answers = model.caption(encoded)
    assert len(answers) == len(images)
    for image, answer in zip(images, answers, strict=True):
        if isinstance(image, int):
            assert answer.captions[0].caption == f"grey {image}"
        else:
            assert isinstance(answer, Failure) and not answer.out_of_memory


def test_too_little_memory_is_not_a_bad_image(model):
    good, huge = model.caption([png(7), png(WHITE)])
    assert good.captions[0].caption == "grey 7"
    assert huge.out_of_memory and "memory limit" in huge.reason


def test_each_caption_is_scored_with_its_image(model):
    scores = model.score([png(64), b"garbage", png(0)], ["abc", "x", "é"])
    assert scores[0] == -3.25
    assert isinstance(scores[1], Failure)
    assert scores[2] == -2.0


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ("image.jpg", r"not the path 'image.jpg': pass \[open\(.*caption_paths for paths"),
        (Path("image.jpg"), r"not the path .*: pass \[open\("),
        (png(1), r"a list of encoded images, not one: pass \[image\]"),
        (["image.jpg"], r"images\[0\] must be an image's bytes, not str: pass \[open\("),
        ([png(1), None], r"images\[1\] must be an image's bytes, not NoneType"),
    ],
)
def test_images_of_a_wrong_type_are_a_type_error(model, images, message):
    with pytest.raises(TypeError, match=message):
        model.caption(images)
    with pytest.raises(TypeError, match=message):
        model.score(images, ["a caption"])


def test_captions_must_be_a_list_as_long_as_the_images(model):
    with pytest.raises(TypeError, match=r"captions must be a list .*: \['a dog'\]"):
        model.score([png(1)] * 5, "a dog")
    with pytest.raises(ValueError, match="2 images but 1 captions"):
        model.score([png(1), png(2)], ["one"])


def test_a_batch_size_below_1_is_refused(version_dir):
    with pytest.raises(ValueError, match="batch_size=0: must be at least 1"):
        Captioner(version_dir, batch_size=0)


def test_several_threads_may_call_at_once(model):
    with futures.ThreadPoolExecutor(4) as pool:
        answers = list(
            pool.map(lambda level: model.caption([png(level)])[0].captions[0].caption, range(24))
        )
    assert answers == [f"grey {level}" for level in range(24)]


def test_a_model_without_the_signatures_takes_no_beam_size_and_has_no_attention(model):
    assert not model.takes_beam_size and not model.has_attention
    with pytest.raises(UserError, match="exported with a fixed beam size"):
        model.caption([png(10)], beam_size=2)
    with pytest.raises(UserError, match=r"no attention in this model .*export it again"):
        model.attention([png(10)], ["grey 10"])


def test_a_beam_size_gives_as_many_captions(landscape_model, landscape_images):
    (usual,) = landscape_model.caption(landscape_images[:1])
    width = len(usual.captions)
    assert landscape_model.caption(landscape_images[:1], beam_size=width) == [usual]
    (wider,) = landscape_model.caption(landscape_images[:1], beam_size=width + 2)
    assert len(wider.captions) == width + 2
    with pytest.raises(UserError, match="beam_size=0: must be at least 1"):
        landscape_model.caption(landscape_images[:1], beam_size=0)


def test_attention_has_a_map_for_each_word(landscape_model, landscape_images):
    captions = ["a blue sky over the grass", "the grass"]
    found = landscape_model.attention(landscape_images[:2], captions)
    assert [maps.shape for maps in found] == [(6, 2, 2), (2, 2, 2)]
    for maps in found:
        np.testing.assert_allclose(maps.sum(axis=(1, 2)), 1, atol=1e-5)
    good, bad = landscape_model.attention([landscape_images[0], b"no image"], captions)
    assert isinstance(bad, Failure)
    np.testing.assert_allclose(good, found[0], atol=1e-6)
