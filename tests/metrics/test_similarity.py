"""Similarity of captions and references: best, mean, and of each pair."""

from __future__ import annotations

import numpy as np
import numpy_bert
import pytest
from refusals import refusal

from imcap import config
from imcap.metrics.scores import build_optional_scorers, score_captions

REFERENCES = {
    "1.jpg": ["a dog runs on the grass", "the dog"],
    "2.jpg": ["a cat sits over the sky", "a cat", "the red cat runs"],
}
HYPOTHESES = {"2.jpg": "a cat", "1.jpg": "a dog sits"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return numpy_bert.write_encoder(tmp_path_factory.mktemp("encoder") / "bert")


@pytest.fixture(scope="module")
def scores(folder):
    settings = config.default().eval
    settings.similarity_encoder = str(folder)
    return score_captions(REFERENCES, HYPOTHESES, build_optional_scorers(settings))


def expected_cosines(folder, image_id):
    """Returns the cosines of an image's hypothesis with its references, computed by numpy."""
    hypothesis, *references = numpy_bert.embed(
        folder, [HYPOTHESES[image_id], *REFERENCES[image_id]]
    )
    return np.array(references) @ hypothesis


def test_each_pair_has_its_cosine(folder, scores):
    assert list(scores.per_reference) == list(REFERENCES)
    for image_id in REFERENCES:
        (found,) = scores.per_reference[image_id].values()
        assert found == pytest.approx(expected_cosines(folder, image_id), abs=1e-5)
        assert all(type(value) is float for value in found)
    assert scores.per_reference["2.jpg"]["similarity_best"][1] == pytest.approx(1, abs=1e-5)


def test_image_and_corpus_have_the_best_and_the_mean(folder, scores):
    cosines = {image_id: expected_cosines(folder, image_id) for image_id in REFERENCES}
    for key, reduce in {"similarity_best": max, "similarity_mean": np.mean}.items():
        each = {image_id: reduce(found) for image_id, found in cosines.items()}
        for image_id, value in each.items():
            assert scores.per_image[image_id][key] == pytest.approx(value, abs=1e-5)
        assert scores.corpus[key] == pytest.approx(np.mean(list(each.values())), abs=1e-5)


def test_similarity_is_absent_unless_an_encoder_is_named(scores):
    plain = score_captions(REFERENCES, HYPOTHESES, build_optional_scorers(config.default().eval))
    assert not any("similarity" in key for key in plain.as_dict())
    assert all(found == {} for found in plain.per_reference.values())
    assert list(scores.as_dict()) == [
        *plain.corpus, "similarity_best", "similarity_mean", "images",
    ]  # fmt: skip


def test_wrong_folder_is_refused_before_captions_are_scored(tmp_path):
    settings = config.default().eval
    settings.similarity_encoder = str(tmp_path / "none")
    assert refusal(build_optional_scorers, settings).startswith(f"{tmp_path}/none: no such folder")
