"""One training step: what it learns, what it sums up, and its dropout."""

from __future__ import annotations

import landscapes
import numpy as np
import pytest
from training_steps import build_train_step, create_state, first_batch

from imcap import records, text
from imcap.decoders import DECODERS
from imcap.decoders.base import NO_DROPOUT
from imcap.decoding import beam_search
from imcap.training import objectives


@pytest.mark.parametrize("kind", [kind for kind in DECODERS if kind != "language_model"])
def test_a_fixed_batch_is_overfitted(tmp_path, landscape_data, kind):
    config = landscapes.make_config(
        tmp_path, landscape_data, model__decoder=kind, train__warmup=0.0, train__epochs=40,
        train__learning_rate=5e-2, decode__beam_size=1,
    )  # fmt: skip
    state, batch = create_state(config), first_batch(config)
    batch["tokens"] = batch["tokens"][:, :1]
    train_step = build_train_step(config, state, batch)
    losses = [float(train_step(batch).shown) for _ in range(200)]
    tokenizer = records.read_tokenizer(config.records.dir, records.read_info(config.records.dir))
    assert losses[0] == pytest.approx(np.log(tokenizer.size), abs=0.1)
    assert losses[19] < 0.9 * losses[0]
    assert losses[-1] < 0.05
    assert state.step.numpy() == 200
    found = beam_search.search(state.decoder, batch["features"], config.decode).tokens[:, 0]
    captions = tokenizer.decode(found.numpy())
    assert captions == tokenizer.decode(batch["tokens"][:, 0, 1:].numpy())
    assert len(set(captions)) > 1


def test_a_step_sums_cross_entropy_tokens_and_captions(tmp_path, landscape_data):
    config = landscapes.make_config(tmp_path, landscape_data, train__label_smoothing=0.2)
    state, batch = create_state(config), first_batch(config)
    objective = objectives.CrossEntropy(state.decoder)
    _, entropies = objective.token_losses(batch["features"], batch["tokens"], NO_DROPOUT)
    output = build_train_step(config, state, batch)(batch)
    assert float(output.shown) == pytest.approx(np.mean(entropies), rel=1e-5)
    captions = (batch["tokens"].numpy()[..., 0] != text.PAD).sum()
    expected = [np.sum(entropies), len(entropies), captions, output.gradient_norm]
    np.testing.assert_allclose(state.sums, expected, rtol=1e-5)


def test_dropout_masks_differ_between_steps(tmp_path, landscape_data):
    def losses(rate: float) -> list[float]:
        config = landscapes.make_config(
            tmp_path, landscape_data, model__dropout=rate, train__learning_rate=1e-12
        )
        state, batch = create_state(config), first_batch(config)
        for weight in state.decoder.weights:
            weight.assign(weight * 3)
        train_step = build_train_step(config, state, batch)
        return [float(train_step(batch).shown) for _ in range(3)]

    assert len(set(losses(0.5))) == 3
    assert len(set(losses(0.0))) == 1
