"""Scores of a corpus and of each image, and the captions that are refused."""

from __future__ import annotations

import dataclasses
import time
import warnings

import pytest
from corpora import WORDS, bleus, coco_score, make_corpus
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from imcap.metrics.scores import score_captions


@pytest.mark.parametrize("seed", range(4))
def test_corpus_scores_agree_with_pycocoevalcap(seed):
    refs, hyps = make_corpus(120, seed)  # captions from one word up, one to six references
    scores = score_captions(refs, hyps)
    assert scores.corpus["bleu4"] > 0 and scores.corpus["cider"] > 0 and scores.num_images == 120
    assert bleus(scores) == pytest.approx(coco_score(Bleu(4), refs, hyps, verbose=0)[0], abs=1e-8)
    assert scores.corpus["rouge_l"] == pytest.approx(coco_score(Rouge(), refs, hyps)[0], abs=1e-12)
    assert scores.corpus["cider"] == pytest.approx(coco_score(Cider(), refs, hyps)[0], abs=1e-12)


def test_no_overlap_scores_zero_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nothing = score_captions(
            {"x": ["a dog runs"], "y": ["a cat"]}, {"x": "blue sky", "y": "sea"}
        )
        words_only = score_captions(
            {"x": ["a dog runs on grass"], "y": ["a cat"]}, {"x": "grass dog a", "y": "sea"}
        )
    assert [*bleus(nothing), nothing.corpus["rouge_l"], nothing.corpus["cider"]] == [0.0] * 6
    assert words_only.corpus["bleu1"] > 0 and bleus(words_only)[1:] == [0.0] * 3


def test_perfect_corpus_scores_the_maximum():
    refs = {"x": ["a black dog runs on the grass"], "y": ["two men sit in the cold snow"]}
    scores = score_captions(refs, {image_id: captions[0] for image_id, captions in refs.items()})
    assert bleus(scores) == pytest.approx([1, 1, 1, 1])
    assert scores.corpus["rouge_l"] == pytest.approx(1) and scores.corpus["cider"] == pytest.approx(
        10
    )
    assert all(own["bleu4"] == pytest.approx(1) for own in scores.per_image.values())


def test_cider_of_one_image_is_zero():
    scores = score_captions({"x": ["a dog runs on grass"]}, {"x": "a dog runs on grass"})
    assert scores.corpus["cider"] == 0.0 and scores.corpus["rouge_l"] == pytest.approx(1)


def test_empty_hypothesis_scores_zero_and_counts():
    refs, hyps = make_corpus(20)
    full = score_captions(refs, hyps)
    scores = score_captions(refs, {**hyps, "3.jpg": ""})
    assert scores.per_image["3.jpg"] == {"bleu4": 0.0, "rouge_l": 0.0, "cider": 0.0}
    assert scores.corpus["rouge_l"] < full.corpus["rouge_l"] and scores.num_images == 20
    assert bleus(score_captions(refs, dict.fromkeys(refs, ""))) == [0.0] * 4


def test_references_without_a_word_score_zero():
    scores = score_captions({"x": [""], "y": [""]}, {"x": "a dog", "y": "a cat"})
    assert [*bleus(scores), scores.corpus["rouge_l"], scores.corpus["cider"]] == [0.0] * 6


def test_per_image_scores_average_to_the_corpus_score():
    refs, hyps = make_corpus(30)
    shuffled = dict(sorted(hyps.items(), key=lambda item: item[1]))
    scores = score_captions(refs, shuffled)
    assert list(scores.per_image) == list(refs)
    for name in ("rouge_l", "cider"):
        mean = sum(own[name] for own in scores.per_image.values()) / 30
        assert scores.corpus[name] == pytest.approx(mean)
    assert scores == score_captions(refs, hyps)


def test_as_dict_holds_plain_numbers_of_the_corpus():
    scores = score_captions(*make_corpus(5))
    figures = scores.as_dict()
    assert list(figures) == ["bleu1", "bleu2", "bleu3", "bleu4", "rouge_l", "cider", "images"]
    assert [type(value) for value in figures.values()] == [float] * 6 + [int]
    assert all(type(v) is float for own in scores.per_image.values() for v in own.values())
    with pytest.raises(dataclasses.FrozenInstanceError):
        scores.num_images = 1


@pytest.mark.parametrize(
    "marker",
    ["[START]", "[END]", "[end]", "<start>", "<end>", "startseq", "endseq", "</s>", "[UNK]"],
)
@pytest.mark.parametrize("side", ["references", "hypotheses"])
def test_markers_are_refused(marker, side):
    refs, hyps = {"7.jpg": ["a dog", "the dog"]}, {"7.jpg": "a dog"}
    if side == "references":
        refs["7.jpg"][1] = f"{marker} the dog"
    else:
        hyps["7.jpg"] = f"a dog {marker}"
    with pytest.raises(ValueError) as raised:
        score_captions(refs, hyps)
    assert "7.jpg" in str(raised.value) and marker in str(raised.value)


def test_start_and_end_are_words():
    scores = score_captions({"x": ["the start of a race"]}, {"x": "the end of a race"})
    assert scores.corpus["bleu1"] == pytest.approx(4 / 5)


@pytest.mark.parametrize("text", ["a  dog", " a dog", "a dog ", "a dog\n"])
def test_words_must_be_separated_by_single_spaces(text):
    with pytest.raises(ValueError, match=r"7\.jpg.*single spaces"):
        score_captions({"7.jpg": [text]}, {"7.jpg": "a dog"})


def test_image_on_one_side_only_is_named():
    refs = {"a": ["x"], "b": ["x"], "c": ["x"]}
    with pytest.raises(ValueError, match="'b' has references but no hypothesis"):
        score_captions(refs, {"a": "x"})
    with pytest.raises(ValueError, match="'q' has a hypothesis but no references"):
        score_captions({"a": ["x"]}, {"a": "x", "q": "x", "z": "x"})


@pytest.mark.parametrize("captions", [[], "a dog"])
def test_image_without_a_list_of_references_is_named(captions):
    with pytest.raises(ValueError, match="'a' needs a list"):
        score_captions({"a": captions}, {"a": "x"})


def test_no_image_is_an_error():
    with pytest.raises(ValueError, match="no image"):
        score_captions({}, {})


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(st.lists(st.sampled_from(WORDS[:6]), min_size=1, max_size=7), min_size=1),
            st.lists(st.sampled_from(WORDS[:6]), max_size=7),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_any_corpus_agrees_with_pycocoevalcap(images):
    refs = {str(i): [" ".join(words) for words in pair[0]] for i, pair in enumerate(images)}
    hyps = {str(i): " ".join(pair[1]) for i, pair in enumerate(images)}
    scores = score_captions(refs, hyps)
    for ours, theirs in zip(
        bleus(scores), coco_score(Bleu(4), refs, hyps, verbose=0)[0], strict=True
    ):
        assert ours == pytest.approx(theirs, abs=1e-6) or (ours == 0.0 and theirs < 0.032)
    assert scores.corpus["rouge_l"] == pytest.approx(coco_score(Rouge(), refs, hyps)[0], abs=1e-6)
    assert scores.corpus["cider"] == pytest.approx(coco_score(Cider(), refs, hyps)[0], abs=1e-6)
    assert all(0 <= bleu <= 1 + 1e-9 for bleu in bleus(scores))


def test_thousand_images_take_seconds():
    refs, hyps = make_corpus(1000, references=(5, 5), words=(8, 12))
    start = time.process_time()
    score_captions(refs, hyps)
    assert time.process_time() - start < 10  # 0.7 s on a common core; the rest is margin
