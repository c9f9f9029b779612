"""Whole runs with decoders that no other test trains: training, evaluation and export."""

from __future__ import annotations

import json
from pathlib import Path

import landscapes
import numpy as np
import outputs
import pytest
import tensorflow as tf

from imcap import evaluate, export, train
from imcap.decoders import DECODERS

RUNS = {
    "merge": {
        "model__layers": 2,
        "model__tie_embeddings": False,
        "train__compute_dtype": "bfloat16",
    },
    "mean": {},
}


@pytest.fixture(scope="module", params=RUNS)
def run(request, landscape_data, tmp_path_factory) -> tuple[str, Path]:
    """A decoder's name, and the workdir of a run with it: trained, evaluated and exported.

    `mean` is the decoder of one file, which is not imcap's.
    """
    kind, workdir = request.param, tmp_path_factory.mktemp(request.param)
    with DECODERS.registered("mean", "mean_decoder:MeanDecoder"):
        config = landscapes.make_config(
            workdir, landscape_data, model__decoder=kind, train__epochs=4, train__eval_every=4,
            **RUNS[kind],
        )  # fmt: skip
        train.train_and_evaluate(config, str(workdir), "none")
        evaluate.evaluate_split(config, str(workdir), "dev")
        export.export_model(config, str(workdir))
    return kind, workdir


def test_every_decoder_trains_predicts_and_exports(run, landscape_data):
    _, workdir = run
    losses = [float(row["loss"]) for row in outputs.history(workdir)]
    assert losses[-1] < 0.9 * losses[0]
    rows = json.loads((workdir / "eval" / "dev" / "predictions.json").read_text())
    captions, expected = zip(*((row["caption"], row["score"]) for row in rows), strict=True)
    assert np.ptp(expected) > 1e-5  # It sees the image.

    model = tf.saved_model.load(str(workdir / "export" / "1"))
    images = tf.constant([(landscape_data / row["image_id"]).read_bytes() for row in rows])
    found = model.signatures["serving_default"](image_bytes=images)
    assert tuple(caption.decode() for caption in found["caption"].numpy()) == captions
    scores = model.signatures["score"](image_bytes=images, caption=tf.constant(captions))["score"]
    for score in (found["score"], scores):
        np.testing.assert_allclose(score, expected, atol=1e-4)


def test_without_attention_the_report_has_no_maps(run):
    _, workdir = run
    folder = workdir / "eval" / "dev"
    assert (folder / "report.html").exists()
    assert not (folder / "attention").exists()
