"""PyTorch's decoder is imcap's, and it learns from the batches that imcap learns from."""

from __future__ import annotations

import dataclasses
import importlib.util

import numpy as np
import pytest
import record_infos
import tensorflow as tf

from imcap import config as config_lib
from imcap import decoders, text
from imcap.benchmarks import torch_peer
from imcap.decoders.base import NO_DROPOUT
from imcap.training.objectives import CrossEntropy

VOCAB_SIZE = 11
CAPTIONS = [
    [[text.START, 5, 6, text.END], [text.START, 7, text.END, text.PAD]],
    [[text.START, 8, 9, 10], [text.PAD] * 4],  # One is cut, and one is missing.
]


def make_batch(dtype=tf.float32):
    shape = (len(CAPTIONS), record_infos.POSITIONS, record_infos.CHANNELS)
    features = np.random.default_rng(0).normal(size=shape)
    return {"features": tf.constant(features, dtype), "tokens": tf.constant(CAPTIONS, tf.int32)}


def make_config():
    config = config_lib.default()
    config.model.units, config.model.embedding_size = 8, 6
    config.train.learning_rate = 0.01
    return config


if importlib.util.find_spec("torch"):  # The extra `torch`: its wheel is larger than all others.

    @pytest.fixture
    def prepared(tmp_path):
        """Functions of a file of one batch, whose folder is `tmp_path`."""
        info = dataclasses.replace(
            record_infos.make_info("float16"), text={"vocabulary_size": VOCAB_SIZE}
        )
        batches = [make_batch(tf.float16)]
        return torch_peer.prepare(str(tmp_path), batches, make_config(), info, "bfloat16")

    def copy_weights(decoder, peer) -> None:
        """Draws imcap's weights, biases included, and gives them to PyTorch's decoder."""
        import torch

        rng = np.random.default_rng(1)
        for weight in decoder.weights:
            weight.assign(rng.normal(0, 0.5, weight.shape))
        w = {name: weight.numpy() for name, weight in decoder.weights_by_name().items()}
        units = w["init_kernel"].shape[0]
        of_context, of_hidden = w["recurrent_kernel"][:units], w["recurrent_kernel"][units:]
        bias = w["lstm_bias"].copy()
        bias[units : 2 * units] += 1  # imcap adds it to the forget gate.
        values = {
            "project.weight": w["projection_kernel"].T,
            "project.bias": w["projection_bias"],
            "initial.weight": w["init_kernel"].T,
            "embedding.weight": w["embedding"],
            "logits.weight": w["embedding"],
            "query_gate.weight": w["query_kernel"].T,
            "cell.weight_ih": np.concatenate([w["word_kernel"], of_context]).T,
            "cell.weight_hh": of_hidden.T,
            "cell.bias_ih": bias,
            "cell.bias_hh": np.zeros_like(bias),
            "output.weight": w["output_kernel"].T,
            "logits.bias": w["output_bias"],
        }
        peer.load_state_dict({name: torch.tensor(value) for name, value in values.items()})

    def test_the_decoder_has_the_loss_of_imcaps():
        import torch

        from imcap.benchmarks.peers import torch_decoder

        model, batch = make_config().model, make_batch()
        decoder = decoders.build(model, VOCAB_SIZE, record_infos.CHANNELS)
        peer = torch_decoder.AttentionDecoder(model.to_dict(), VOCAB_SIZE, record_infos.CHANNELS)
        copy_weights(decoder, peer.eval())
        objective = CrossEntropy(decoder, label_smoothing=0.1)
        losses, _ = objective.token_losses(batch["features"], batch["tokens"], NO_DROPOUT)
        features, tokens = (torch.tensor(batch[key].numpy()) for key in ("features", "tokens"))
        logits, targets = peer(features, tokens.long())
        assert sorted(targets.tolist()) == [text.END, text.END, 5, 6, 7, 8, 9, 10]
        theirs = torch.nn.functional.cross_entropy(logits, targets, label_smoothing=0.1)
        assert theirs.item() == pytest.approx(float(tf.reduce_mean(losses)), rel=1e-4)

    @pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
    def test_training_lowers_the_loss(prepared, tmp_path, dtype):
        from imcap.benchmarks.peers import torch_training

        settings, (batch,) = torch_training.read_batches(str(tmp_path / "batches.npz"))
        step = torch_training.build_step(settings, dtype)
        losses = [float(step(batch)) for _ in range(30)]
        assert min(losses[-5:]) < losses[0]

    def test_a_process_measures_each_dtype(prepared):
        assert list(prepared) == ["float32", "bfloat16"]
        assert prepared["bfloat16"]() > 0
