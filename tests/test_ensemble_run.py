"""Two runs as one captioner: its evaluation, its export, and that both give the same captions."""

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
from refusals import command_refusal
from signatures import caption, score

from imcap import evaluate, export, train
from imcap.metrics import files


class Runs(NamedTuple):
    """The workdir of an ensemble's first member, and the run of the other one."""

    workdir: Path
    other: Path

    @property
    def checkpoint(self) -> list[str]:
        return ["1", str(self.other)]

    def read(self, name: str, suffix: str = "") -> object:
        """A file of the evaluation of the ensemble."""
        folder = self.workdir / "eval" / f"dev-epoch-1+{self.other.name}{suffix}"
        return json.loads((folder / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def runs(landscape_run, landscape_data, tmp_path_factory) -> Runs:
    """An evaluated run of a decoder with attention, and one of another kind, size and seed."""
    parent = tmp_path_factory.mktemp("runs")
    workdir, other = parent / "first", parent / "other"
    workdir.mkdir()
    (workdir / "checkpoints").symlink_to(landscape_run / "checkpoints")
    for name in ("config.json", "history.csv"):
        shutil.copy(landscape_run / name, workdir)
    shutil.copytree(landscape_run / "eval", workdir / "eval")
    config = landscapes.make_config(
        other, landscape_data, seed=1, model__decoder="inject", model__units=24, train__epochs=1
    )
    train.train_and_evaluate(config, str(other), "none")
    return Runs(workdir, other)


@pytest.fixture(scope="module")
def config(runs, landscape_data):
    return landscapes.make_config(runs.workdir, landscape_data)


@pytest.fixture(scope="module")
def evaluated(runs, config) -> Runs:
    """The runs, after an evaluation of the first one's best weights and of the ensemble."""
    evaluate.evaluate_split(config, str(runs.workdir), "dev", runs.checkpoint)
    return runs


@pytest.fixture(scope="module")
def exported(evaluated, config) -> Path:
    return Path(export.export_model(config, str(evaluated.workdir), evaluated.checkpoint))


@pytest.fixture(scope="module")
def model(exported):
    return tf.saved_model.load(str(exported))


@pytest.fixture(scope="module")
def images(evaluated, landscape_data) -> list[bytes]:
    """The files of the predictions' images."""
    rows = evaluated.read("predictions.json")
    return [(landscape_data / row["image_id"]).read_bytes() for row in rows]


def test_an_evaluation_names_its_members_and_overwrites_no_other(evaluated):
    metrics = evaluated.read("metrics.json")
    assert metrics["checkpoint"] == "epoch-1+other"
    assert metrics["members"] == ["epoch-1, epoch 1, step 5", "other, epoch 1, step 5"]
    assert list(files.read_scores(str(evaluated.workdir))) == ["dev", "dev-epoch-1+other"]
    plain = files.read_scores(str(evaluated.workdir))["dev"]
    assert "members" not in plain and plain["cider"] != metrics["cider"]


def test_the_report_shows_members_and_the_attention_of_those_that_have_any(evaluated, config):
    path = Path(evaluate.report_path(config, str(evaluated.workdir), "dev", evaluated.checkpoint))
    assert "epoch-1, epoch 1, step 5; other, epoch 1, step 5" in path.read_text(encoding="utf-8")
    assert list((path.parent / "attention").iterdir())  # Empty captions have none.


def test_served_captions_are_the_evaluated_ones(evaluated, model, images):
    rows = evaluated.read("predictions.json")
    found = caption(model, images)
    assert [words.decode() for words in found["caption"]] == [row["caption"] for row in rows]
    np.testing.assert_allclose(found["score"], [row["score"] for row in rows], atol=1e-4)
    again = score(model, images, found["caption"].tolist())
    np.testing.assert_allclose(again, found["score"], atol=1e-5)


def test_captions_are_not_ranked_as_by_a_member(evaluated, model, images):
    members = [
        export.load_run(str(evaluated.workdir), ["1"]),
        export.load_run(str(evaluated.other)),
    ]
    ranks = [member.caption(tf.constant(images))["ranks"].numpy() for member in members]
    found = caption(model, images)["ranks"]
    assert all(np.abs(found - own).max() > 0.01 for own in ranks)


def test_attention_of_the_exported_model_is_that_of_the_member_that_has_any(
    evaluated, model, images
):
    inputs = {"image_bytes": tf.constant(images[:2]), "caption": tf.constant(["a red sky"] * 2)}
    single = export.load_run(str(evaluated.workdir), ["1"])
    found, own = model.signatures["attention"](**inputs), single.signatures()["attention"](**inputs)
    np.testing.assert_allclose(found["attention"], own["attention"], atol=1e-5)


def test_a_card_has_the_scores_of_its_own_members(evaluated, exported, config):
    card = (exported / "MODEL_CARD.md").read_text(encoding="utf-8")
    for row in (
        "| member epoch-1 | attention, 16 units, LSTM layers: 1; at most 12 epochs, seed 0;",
        "| member other | inject, 24 units, LSTM layers: 1; at most 1 epochs, seed 1;",
    ):
        assert row in card
    plain = Path(export.export_model(config, str(evaluated.workdir)))
    scores = files.read_scores(str(evaluated.workdir))
    assert scores_row(exported) == scores_row_of(scores["dev-epoch-1+other"])
    assert scores_row(plain) == scores_row_of(scores["dev"])


def scores_row(folder: Path) -> str:
    """The row of the dev split in a model card."""
    card = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    (line,) = [line for line in card.splitlines() if line.startswith("| dev |")]
    return line


def scores_row_of(scores: files.Scores) -> str:
    names = ("bleu1", "bleu2", "bleu3", "bleu4", "rouge_l", "cider")
    return f"| dev | 9 | {' | '.join(f'{scores[name]:.3f}' for name in names)} |"


def test_captions_of_an_ensemble_are_reranked(runs, landscape_data, images):
    config = landscapes.make_config(
        runs.workdir, landscape_data, decode__rerank="consensus", decode__beam_size=6
    )
    evaluate.evaluate_split(config, str(runs.workdir), "dev", runs.checkpoint)
    rows = runs.read("predictions.json", "-consensus")
    metrics = runs.read("metrics.json", "-consensus")
    assert metrics["rerank"] == "consensus" and len(metrics["members"]) == 2
    exported = export.export_model(config, str(runs.workdir), runs.checkpoint)
    served = caption(tf.saved_model.load(exported), images)
    assert [words.decode() for words in served["caption"]] == [row["caption"] for row in rows]


def test_caption_takes_checkpoints_of_several_runs(evaluated, landscape_data):
    predictions = {row["image_id"]: row["caption"] for row in evaluated.read("predictions.json")}
    paths = [landscape_data / name for name in predictions]
    given = [f"--checkpoint={one}" for one in evaluated.checkpoint]
    ended = processes.run_fork("caption", f"--model={evaluated.workdir}", *given, *paths)
    assert ended.status == 0
    assert ended.out.splitlines() == [
        f"{path}\t{predictions[path.name]}" for path in paths
    ]  # fmt: skip


def test_eval_prints_the_report_of_the_ensemble(evaluated, config):
    given = [f"--checkpoint={one}" for one in evaluated.checkpoint]
    ended = processes.run_fork("eval", f"--workdir={evaluated.workdir}", *given)
    assert ended.status == 0
    assert ended.out.splitlines()[-1] == evaluate.report_path(
        config, str(evaluated.workdir), "dev", evaluated.checkpoint
    )


@pytest.mark.parametrize("command", ["eval", "export"])
def test_a_member_that_is_not_there_is_refused_in_a_line(runs, command):
    ended = processes.run_fork(
        command, f"--workdir={runs.workdir}", "--checkpoint=best", "--checkpoint=./nowhere"
    )
    assert command_refusal(ended) == "--checkpoint=./nowhere: there is no such folder"
