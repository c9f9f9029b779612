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
    card = model_card.render(
        trained.info, model=config.model, decode=config.decode, epochs=12, seed=0,
        checkpoint={"checkpoint": "last", "step": 60}, scores={},
    )  # fmt: skip
    assert "| weights | the last, step 60 |" in card
    assert "Not evaluated before the export." in card
