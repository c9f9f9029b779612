"""A run's captions reranked: those that are served are those that were evaluated."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import NamedTuple

import landscapes
import numpy as np
import processes
import pytest
import tensorflow as tf

from imcap import evaluate, export
from imcap.decoding import neighbor_files

BEAM = 8


class Run(NamedTuple):
    """A run that was evaluated and exported with reranking, what it was asked for, and when the
    index of the evaluation was written."""

    workdir: Path
    reranking: str
    index_time: int
    exported: Path

    def evaluation(self, name: str) -> list[dict]:
        folder = self.workdir / "eval" / f"dev-{self.reranking}"
        return json.loads((folder / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="module", params=["mbr", "consensus"])
def run(request, landscape_run, landscape_data, tmp_path_factory) -> Run:
    workdir = tmp_path_factory.mktemp(request.param)
    (workdir / "checkpoints").symlink_to(landscape_run / "checkpoints")
    for name in ("config.json", "history.csv"):
        shutil.copy(landscape_run / name, workdir)
    config = landscapes.make_config(
        workdir, landscape_data, decode__rerank=request.param, decode__beam_size=BEAM
    )
    evaluate.evaluate_split(config, str(workdir), "dev")
    index_time = (workdir / neighbor_files.FILE).stat().st_mtime_ns
    exported = Path(export.export_model(config, str(workdir)))
    return Run(workdir, request.param, index_time, exported)


@pytest.fixture(scope="module")
def model(run):
    return tf.saved_model.load(str(run.exported))


@pytest.fixture(scope="module")
def found(run, model, landscape_data) -> dict[str, np.ndarray]:
    """What the exported model returns for the dev images, in the order of the predictions."""
    rows = run.evaluation("predictions.json")
    images = [(landscape_data / row["image_id"]).read_bytes() for row in rows]
    outputs = model.signatures["serving_default"](image_bytes=tf.constant(images))
    return {name: value.numpy() for name, value in outputs.items()}


def test_served_captions_are_the_evaluated_ones(run, found):
    rows = run.evaluation("predictions.json")
    assert [caption.decode() for caption in found["caption"]] == [row["caption"] for row in rows]
    np.testing.assert_allclose(found["score"], [row["score"] for row in rows], atol=1e-4)


def test_captions_are_in_another_order_than_the_search_s(
    run, model, found, landscape_export, landscape_data
):
    assert found["captions"].shape == (9, BEAM)
    assert (np.diff(found["ranks"]) <= 0).all() and (
        found["caption"] == found["captions"][:, 0]
    ).all()
    name = run.evaluation("predictions.json")[0]["image_id"]
    image = (landscape_data / name).read_bytes()
    reranked, plain = (
        exported.signatures["beam_search"](
            image_bytes=tf.constant([image]), beam_size=tf.constant(BEAM)
        )
        for exported in (model, tf.saved_model.load(str(landscape_export)))
    )
    ranked, searched = (x["captions"].numpy()[0].tolist() for x in (reranked, plain))
    assert ranked == found["captions"][0].tolist() != searched
    assert sorted(ranked) == sorted(searched)


def test_scores_lie_beside_those_of_the_plain_search(run, landscape_data):
    metrics = run.evaluation("metrics.json")
    assert metrics["rerank"] == run.reranking
    assert not (run.workdir / "eval" / "dev").exists()
    config = landscapes.make_config(run.workdir, landscape_data, decode__rerank=run.reranking)
    path = evaluate.report_path(config, str(run.workdir), "dev")
    assert run.reranking in Path(path).read_text(encoding="utf-8")


def test_the_card_tells_of_retrieval_and_has_the_scores_of_this_order(run):
    card = (run.exported / "MODEL_CARD.md").read_text(encoding="utf-8")
    (line,) = [line for line in card.splitlines() if line.startswith("| reranking |")]
    assert ("40 most similar of 45 training images" in line) == (run.reranking == "consensus")
    assert f"{run.evaluation('metrics.json')['bleu4']:.3f}" in card
    assert "`ranks`: what the reranking orders them by" in card


def test_an_export_does_not_read_the_records_that_the_evaluation_has_read(run):
    assert (run.workdir / neighbor_files.FILE).stat().st_mtime_ns == run.index_time


def test_a_reranking_that_does_not_exist_is_refused(landscape_run):
    ended = processes.run_fork(
        "eval", f"--workdir={landscape_run}", "--split=dev", "--config.decode.rerank=consensys"
    )
    assert ended.status == 2 and ended.out == ""
    (line,) = ended.err.splitlines()
    assert "config.decode.rerank='consensys'" in line and "consensus" in line
