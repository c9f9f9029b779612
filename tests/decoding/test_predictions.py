"""Captions of a split, their order, their loss and their scores."""

from __future__ import annotations

import json

import numpy as np
import pytest

from imcap import input_pipeline
from imcap.decoding import beam_search
from imcap.decoding.predictions import Caption, Predictions, Predictor, score_predictions
from imcap.errors import UserError
from imcap.training import checkpoints


@pytest.fixture(scope="module")
def predictor(trained):
    return Predictor(
        trained.decoder,
        trained.tokenizer,
        trained.config.decode,
        trained.config.records.dir,
        trained.info,
    )


def test_predictions_are_the_search_results(predictor, trained):
    found = predictor.predict_split("dev")
    batches = input_pipeline.eval_dataset(
        trained.config.records.dir, trained.info, "dev", batch_size=9
    )
    (batch,) = batches
    captions = beam_search.search(trained.decoder, batch["features"], trained.config.decode)
    for index, image_id in enumerate(batch["image_id"].numpy()):
        rows = found.captions[image_id.decode()]
        assert [row.caption for row in rows] == trained.tokenizer.decode(captions.tokens[index])
        np.testing.assert_allclose([row.score for row in rows], captions.scores[index], atol=1e-5)
        np.testing.assert_allclose([row.rank for row in rows], captions.ranks[index], atol=1e-5)
    total, count = beam_search.log_probability(trained.decoder, batch["features"], batch["tokens"])
    assert found.loss == pytest.approx(-np.sum(total) / np.sum(count), rel=1e-5)


@pytest.mark.parametrize("limit", [1, 4, 9, 50])
def test_limit_takes_the_first_images(predictor, limit):
    everything = predictor.predict_split("dev")
    found = predictor.predict_split("dev", limit=limit)
    assert list(found.captions) == list(everything.captions)[:limit]
    assert list(found.references) == list(found.captions)


@pytest.mark.parametrize("starts", [(0, 5), (0, 1, 8)])
def test_parts_of_a_split_add_up_to_the_whole(predictor, starts):
    whole = predictor.predict_split("dev")
    ends = [*starts[1:], 9]
    parts = [
        predictor.predict_split("dev", start=start, limit=end - start).as_dict()
        for start, end in zip(starts, ends, strict=True)
    ]
    parts = [*json.loads(json.dumps(parts)), Predictions().as_dict()]
    found = Predictions.concatenate(map(Predictions.from_dict, parts))
    assert list(found.captions) == list(whole.captions)
    assert score_predictions(found).as_dict() == score_predictions(whole).as_dict()
    assert (found.references, found.paths) == (whole.references, whole.paths)
    assert found.num_tokens == whole.num_tokens
    assert found.loss == pytest.approx(whole.loss, rel=1e-5)


def test_graph_is_traced_once_and_follows_the_weights(trained, landscape_run, monkeypatch):
    decoder = checkpoints.load_decoder(trained.config.model, str(landscape_run), trained.info)
    attributes = set(vars(decoder))
    starts = []
    original = decoder.start
    monkeypatch.setattr(decoder, "start", lambda *args: starts.append(args) or original(*args))
    predictor = Predictor(
        decoder,
        trained.tokenizer,
        trained.config.decode,
        trained.config.records.dir,
        trained.info,
    )
    before = predictor.predict_split("dev", limit=2)
    traced = len(starts)
    for weight in decoder.weights:
        weight.assign(weight * 0)
    after = predictor.predict_split("train", limit=5)
    assert len(starts) == traced > 0
    assert after.loss == pytest.approx(np.log(trained.tokenizer.size), rel=1e-5) != before.loss
    assert set(vars(decoder)) == attributes | {"start"}


def test_image_without_a_word_in_its_references_is_not_scored():
    caption = [Caption("a red sky", -0.5, -1.0)]
    predictions = Predictions(
        captions={"a": caption, "b": caption}, references={"a": ["a red sky"], "b": []}
    )
    assert score_predictions(predictions).num_images == 1
    with pytest.raises(UserError, match="no caption with a word"):
        score_predictions(Predictions(captions={"b": caption}, references={"b": []}))
