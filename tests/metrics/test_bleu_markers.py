"""BLEU with markers equals what notebook projects compute, call by call."""

from __future__ import annotations

import warnings

import pytest
from corpora import make_corpus
from nltk.translate.bleu_score import corpus_bleu

from imcap import config
from imcap.metrics.bleu_markers import score_bleu_with_markers
from imcap.metrics.scores import build_optional_scorers, score_captions


def notebook_bleu(references, hypotheses):
    """Returns BLEU-1 and BLEU-2 as the projects compute them, from the strings that they build."""
    mapping = {
        image_id: ["startseq " + caption + " endseq" for caption in captions]
        for image_id, captions in references.items()
    }
    actual, predicted = [], []
    for image_id, captions in mapping.items():
        y_pred = "startseq"
        for word in [*hypotheses[image_id].split(), "endseq"]:  # The model's words, one at a time.
            y_pred += " " + word
        actual.append([caption.split() for caption in captions])
        predicted.append(y_pred.split())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bleu1 = corpus_bleu(actual, predicted, weights=(1.0, 0, 0, 0))
        bleu2 = corpus_bleu(actual, predicted, weights=(0.5, 0.5, 0, 0))
    return [bleu1, bleu2]


def with_markers(references, hypotheses):
    settings = config.default().eval
    settings.markers = True
    scores = score_captions(references, hypotheses, build_optional_scorers(settings))
    return [scores.corpus["bleu1_markers"], scores.corpus["bleu2_markers"]]


@pytest.mark.parametrize("seed", range(4))
def test_figures_equal_nltk_called_as_notebooks_call_it(seed):
    refs, hyps = make_corpus(80, seed)  # Captions from one word up: short ones are not corrected.
    assert with_markers(refs, hyps) == pytest.approx(notebook_bleu(refs, hyps), abs=1e-12)


@pytest.mark.parametrize("hypothesis", ["", "sea", "a dog"])
def test_short_captions_equal_nltk_without_a_warning(hypothesis):
    refs, hyps = {"x": ["a dog", "the dog runs"]}, {"x": hypothesis}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = with_markers(refs, hyps)
    assert found == pytest.approx(notebook_bleu(refs, hyps), abs=1e-12)


def test_markers_inflate_bleu():
    refs, hyps = make_corpus(80)
    corpus = score_captions(refs, hyps).corpus
    bleu1, bleu2 = with_markers(refs, hyps)
    assert bleu1 > corpus["bleu1"] and bleu2 > corpus["bleu2"]
    # Nothing but the markers matches.
    assert with_markers({"x": ["a dog runs"]}, {"x": "two men sit"})[0] == pytest.approx(2 / 5)


def test_markers_are_counted_only_where_the_setting_asks():
    settings = config.default().eval
    assert build_optional_scorers(settings) == []
    settings.markers = True
    assert build_optional_scorers(settings) == [score_bleu_with_markers]
    assert not any("markers" in key for key in score_captions(*make_corpus(5)).as_dict())


def test_markers_in_captions_are_refused_as_ever():
    with pytest.raises(ValueError, match="marker 'endseq'"):
        score_captions({"x": ["a dog"]}, {"x": "a dog endseq"}, [score_bleu_with_markers])
