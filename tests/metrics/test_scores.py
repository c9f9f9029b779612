"""The scores agree with the judges that papers use, and say so where they cannot."""

from __future__ import annotations

import dataclasses
import random
import time
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.translate import bleu_score
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from imcap import metrics

WORDS = ["a", "the", "dog", "cat", "man", "runs", "sits", "on", "in", "grass", "snow", "red", "and"]


def corpus(images, seed=0, references=(1, 6), words=(1, 12)):
    """Returns random references, and hypotheses that are a reference with some words replaced."""
    rng = random.Random(seed)

    def caption():
        return " ".join(rng.choices(WORDS, k=rng.randint(*words)))

    def corrupted(text):
        return " ".join(rng.choice(WORDS) if rng.random() < 0.2 else word for word in text.split())

    refs = {f"{i}.jpg": [caption() for _ in range(rng.randint(*references))] for i in range(images)}
    return refs, {image_id: corrupted(rng.choice(captions)) for image_id, captions in refs.items()}


def judged(scorer, refs, hyps, **options):
    """Returns what one of pycocoevalcap's scorers says of the same dicts."""
    gts = {image_id: list(captions) for image_id, captions in refs.items()}
    return scorer.compute_score(gts, {image_id: [hyps[image_id]] for image_id in refs}, **options)


def bleus(scores):
    return [scores.bleu1, scores.bleu2, scores.bleu3, scores.bleu4]


@pytest.mark.parametrize("seed", range(4))
def test_all_corpus_figures_agree_with_pycocoevalcap(seed):
    refs, hyps = corpus(120, seed)  # captions from one word up, one to six references
    scores = metrics.score(refs, hyps)
    assert scores.bleu4 > 0 and scores.cider > 0 and scores.images == 120
    assert bleus(scores) == pytest.approx(judged(Bleu(4), refs, hyps, verbose=0)[0], abs=1e-8)
    assert scores.rouge_l == pytest.approx(judged(Rouge(), refs, hyps)[0], abs=1e-12)
    assert scores.cider == pytest.approx(judged(Cider(), refs, hyps)[0], abs=1e-12)


def test_bleu_is_nltks_where_every_caption_has_four_words():
    refs, hyps = corpus(60, words=(4, 14))
    nltks = bleu_score.corpus_bleu(
        [[caption.split() for caption in refs[i]] for i in refs],
        [hyps[i].split() for i in refs],
        [(1,), (1 / 2,) * 2, (1 / 3,) * 3, (1 / 4,) * 4],
    )
    assert bleus(metrics.score(refs, hyps)) == pytest.approx(nltks, abs=1e-12)


def test_a_short_caption_is_not_counted_as_a_wrong_ngram():
    refs = {"long": ["a black dog runs on the grass"], "short": ["a dog"]}
    hyps = {"long": "a black dog runs on the grass", "short": "a dog"}
    assert bleus(metrics.score(refs, hyps)) == pytest.approx([1, 1, 1, 1], abs=1e-12)


def test_the_shorter_of_two_equally_close_references_sets_the_length():
    refs = {"x": ["a b c d e f g", "a b c d e f g h i"]}  # 7 and 9 words against 8: no penalty
    hyps = {"x": "a b c d e f g h"}
    assert metrics.score(refs, hyps).bleu4 == pytest.approx(1.0, abs=1e-12)
    penalized = {"x": ["a b c d e f g h i"]}
    assert metrics.score(penalized, hyps).bleu4 == pytest.approx(2.718281828 ** (1 - 9 / 8))


def test_hand_computed_bleu_with_clipping():
    scores = metrics.score({"x": ["the cat sits on the mat"]}, {"x": "the the the cat sits on"})
    # 5 of 6 words (the third "the" is clipped), 3 of 5 bigrams, 2 of 4 trigrams, 1 of 3 4-grams.
    exact = [5 / 6, (5 / 6 * 3 / 5) ** (1 / 2), (5 / 6 * 3 / 5 * 2 / 4) ** (1 / 3)]
    exact.append((5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** (1 / 4))
    assert bleus(scores) == pytest.approx(exact, abs=1e-12)


def test_no_overlap_is_zero_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nothing = metrics.score(
            {"x": ["a dog runs"], "y": ["a cat"]}, {"x": "blue sky", "y": "sea"}
        )
        words_only = metrics.score(
            {"x": ["a dog runs on grass"], "y": ["a cat"]}, {"x": "grass dog a", "y": "sea"}
        )
    assert [*bleus(nothing), nothing.rouge_l, nothing.cider] == [0.0] * 6
    assert words_only.bleu1 > 0 and bleus(words_only)[1:] == [0.0] * 3


def test_the_documented_difference_from_pycocoevalcap_without_a_right_ngram():
    refs, hyps = {"x": ["a dog runs on grass"]}, {"x": "a dog runs"}
    theirs = judged(Bleu(4), refs, hyps, verbose=0)[0]
    ours = bleus(metrics.score(refs, hyps))
    assert ours[:3] == pytest.approx(theirs[:3], abs=1e-6)
    assert ours[3] == 0.0 < theirs[3] < 0.032


def test_a_perfect_corpus_scores_full_marks():
    refs = {"x": ["a black dog runs on the grass"], "y": ["two men sit in the cold snow"]}
    scores = metrics.score(refs, {image_id: captions[0] for image_id, captions in refs.items()})
    assert bleus(scores) == pytest.approx([1, 1, 1, 1])
    assert scores.rouge_l == pytest.approx(1) and scores.cider == pytest.approx(10)
    assert all(own["bleu4"] == pytest.approx(1) for own in scores.per_image.values())


def test_cider_of_one_image_is_zero_and_not_nan():
    scores = metrics.score({"x": ["a dog runs on grass"]}, {"x": "a dog runs on grass"})
    assert scores.cider == 0.0 and scores.rouge_l == pytest.approx(1)


def test_an_empty_hypothesis_scores_zero_and_lowers_the_corpus():
    refs, hyps = corpus(20)
    full = metrics.score(refs, hyps)
    scores = metrics.score(refs, {**hyps, "3.jpg": ""})
    assert scores.per_image["3.jpg"] == {"bleu4": 0.0, "rouge_l": 0.0, "cider": 0.0}
    assert scores.rouge_l < full.rouge_l and scores.images == 20
    assert bleus(metrics.score(refs, dict.fromkeys(refs, ""))) == [0.0] * 4


def test_references_without_a_word_score_zero():
    scores = metrics.score({"x": [""], "y": [""]}, {"x": "a dog", "y": "a cat"})
    assert [*bleus(scores), scores.rouge_l, scores.cider] == [0.0] * 6


def test_per_image_scores_are_the_terms_of_the_means_in_the_references_order():
    refs, hyps = corpus(30)
    shuffled = dict(sorted(hyps.items(), key=lambda item: item[1]))
    scores = metrics.score(refs, shuffled)
    assert list(scores.per_image) == list(refs)
    for name in ("rouge_l", "cider"):
        mean = sum(own[name] for own in scores.per_image.values()) / 30
        assert getattr(scores, name) == pytest.approx(mean)
    assert scores == metrics.score(refs, hyps)


def test_per_image_bleu_is_add_one_smoothed():
    scores = metrics.score({"x": ["a dog runs on grass"]}, {"x": "a dog sits on grass"})
    # 4 of 5 words; 2, 0 and 0 of the 4, 3 and 2 longer n-grams, with one added to each count.
    assert scores.per_image["x"]["bleu4"] == pytest.approx((4 / 5 * 3 / 5 * 1 / 4 * 1 / 3) ** 0.25)


def test_as_dict_holds_plain_numbers_without_the_images_own():
    scores = metrics.score(*corpus(5))
    figures = scores.as_dict()
    assert list(figures) == ["bleu1", "bleu2", "bleu3", "bleu4", "rouge_l", "cider", "images"]
    assert [type(value) for value in figures.values()] == [float] * 6 + [int]
    assert all(type(v) is float for own in scores.per_image.values() for v in own.values())
    with pytest.raises(dataclasses.FrozenInstanceError):
        scores.cider = 1.0


@pytest.mark.parametrize(
    "marker",
    ["[START]", "[END]", "[end]", "<start>", "<end>", "startseq", "endseq", "</s>", "[UNK]"],
)
@pytest.mark.parametrize("side", ["references", "hypotheses"])
def test_markers_are_refused_on_either_side(marker, side):
    refs, hyps = {"7.jpg": ["a dog", "the dog"]}, {"7.jpg": "a dog"}
    if side == "references":
        refs["7.jpg"][1] = f"{marker} the dog"
    else:
        hyps["7.jpg"] = f"a dog {marker}"
    with pytest.raises(ValueError) as raised:
        metrics.score(refs, hyps)
    assert "7.jpg" in str(raised.value) and marker in str(raised.value)


def test_the_words_start_and_end_are_words():
    scores = metrics.score({"x": ["the start of a race"]}, {"x": "the end of a race"})
    assert scores.bleu1 == pytest.approx(4 / 5)


@pytest.mark.parametrize("text", ["a  dog", " a dog", "a dog ", "a dog\n"])
def test_words_must_be_separated_by_single_spaces(text):
    with pytest.raises(ValueError, match=r"7\.jpg.*single spaces"):
        metrics.score({"7.jpg": [text]}, {"7.jpg": "a dog"})


def test_the_first_image_on_one_side_only_is_named():
    refs = {"a": ["x"], "b": ["x"], "c": ["x"]}
    with pytest.raises(ValueError, match="'b' has references but no hypothesis"):
        metrics.score(refs, {"a": "x"})
    with pytest.raises(ValueError, match="'q' has a hypothesis but no references"):
        metrics.score({"a": ["x"]}, {"a": "x", "q": "x", "z": "x"})


@pytest.mark.parametrize("captions", [[], "a dog"])
def test_an_image_without_a_list_of_references_is_named(captions):
    with pytest.raises(ValueError, match="'a' needs a list"):
        metrics.score({"a": captions}, {"a": "x"})


def test_nothing_to_score_is_an_error():
    with pytest.raises(ValueError, match="no image"):
        metrics.score({}, {})


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
def test_any_corpus_agrees_with_the_judges_and_stays_in_range(images):
    refs = {str(i): [" ".join(words) for words in pair[0]] for i, pair in enumerate(images)}
    hyps = {str(i): " ".join(pair[1]) for i, pair in enumerate(images)}
    scores = metrics.score(refs, hyps)
    for ours, theirs in zip(bleus(scores), judged(Bleu(4), refs, hyps, verbose=0)[0], strict=True):
        assert ours == pytest.approx(theirs, abs=1e-6) or (ours == 0.0 and theirs < 0.032)
    assert scores.rouge_l == pytest.approx(judged(Rouge(), refs, hyps)[0], abs=1e-6)
    assert scores.cider == pytest.approx(judged(Cider(), refs, hyps)[0], abs=1e-6)
    assert all(0 <= bleu <= 1 + 1e-9 for bleu in bleus(scores))


def test_a_thousand_images_take_seconds():
    refs, hyps = corpus(1000, references=(5, 5), words=(8, 12))
    start = time.process_time()
    metrics.score(refs, hyps)
    assert time.process_time() - start < 10  # 0.7 s on a common core; the rest is margin


def test_diversity_shows_one_caption_for_every_photo():
    same = metrics.diversity({"x": "a dog runs", "y": "a dog runs"})
    assert same == {"distinct_captions": 1, "mean_words": 3.0, "vocabulary_used": 3}
    varied = metrics.diversity({"x": "a dog", "y": "the dog runs far"})
    assert varied == {"distinct_captions": 2, "mean_words": 3.0, "vocabulary_used": 5}
    assert metrics.diversity({}) == {
        "distinct_captions": 0,
        "mean_words": 0.0,
        "vocabulary_used": 0,
    }
