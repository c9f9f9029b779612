"""The card of an exported captioner."""

from __future__ import annotations

import json

from imcap.reports import model_card


def test_model_card_holds_scores_and_settings(landscape_export, landscape_run):
    card = (landscape_export / "MODEL_CARD.md").read_text(encoding="utf-8")
    metrics = json.loads((landscape_run / "eval" / "dev" / "metrics.json").read_text())
    names = ("bleu1", "bleu2", "bleu3", "bleu4", "rouge_l", "cider")
    assert "| split | images | BLEU-1 | BLEU-2 | BLEU-3 | BLEU-4 | ROUGE-L | CIDEr-D |" in card
    assert f"| dev | 9 | {' | '.join(f'{metrics[name]:.3f}' for name in names)} |" in card
    for part in (
        "encoder.keras",
        "attention, 16 units, LSTM layers: 1",
        "45 images",
        "tensorflow 2.",
    ):
        assert part in card


def test_model_card_without_an_evaluation_says_so(trained):
    config = trained.config
    last = model_card.Member("last", config.model, 12, 0, {"checkpoint": "last", "step": 60})
    card = model_card.render(trained.info, members=[last], decode=config.decode, scores={})
    assert "| weights | the last, step 60 |" in card
    assert "Not evaluated before the export." in card


def test_the_card_of_an_ensemble_has_a_row_for_each_member(trained):
    config = trained.config
    inject = config.model.copy_and_resolve_references()
    with inject.unlocked():
        inject.update(decoder="inject", layers=2)
    members = [
        model_card.Member("best", config.model, 12, 0, {"checkpoint": "best", "step": 60}),
        model_card.Member("b", inject, 3, 7, {"checkpoint": "last", "step": 5}, "a.txt, frozen"),
    ]
    card = model_card.render(trained.info, members=members, decode=config.decode, scores={})
    lines = card.splitlines()
    row = "| decoder | an ensemble of 2: the mean of their probabilities decides each word |"
    assert lines[lines.index(row) + 1 :][:2] == [
        "| member best | attention, 16 units, LSTM layers: 1; at most 12 epochs, seed 0; "
        "the best by dev score, step 60 |",
        "| member b | inject, 16 units, LSTM layers: 2; word vectors of a.txt, frozen; at most "
        "3 epochs, seed 7; the last, step 5 |",
    ]
    assert "| trained on | 45 images |" in lines and "| weights |" not in card
