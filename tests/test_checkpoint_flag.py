"""Any of a run's weights in eval, export and caption: `--checkpoint=best|last|EPOCH`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import landscapes
import outputs
import processes
import pytest
import tensorflow as tf
from refusals import refusal

from imcap import compare, evaluate, export
from imcap.metrics import files
from imcap.serving.captioner import FunctionCaptioner

EPOCH = 1  # Whose captions differ from the best.


@pytest.fixture(scope="module")
def workdir(landscape_run, tmp_path_factory) -> Path:
    """A run's folder with the weights of `landscape_run` and the evaluation of the best ones."""
    folder = tmp_path_factory.mktemp("chosen")
    (folder / "checkpoints").symlink_to(landscape_run / "checkpoints")
    for name in ("config.json", "history.csv"):
        shutil.copy(landscape_run / name, folder)
    shutil.copytree(landscape_run / "eval", folder / "eval")
    return folder


@pytest.fixture(scope="module")
def config(workdir, landscape_data):
    return landscapes.make_config(workdir, landscape_data)


@pytest.fixture(scope="module")
def evaluated(workdir, config) -> Path:
    """The folder of the evaluation of epoch EPOCH, made after that of the best weights."""
    evaluate.evaluate_split(config, str(workdir), "dev", [str(EPOCH)])
    return workdir / "eval" / f"dev-epoch-{EPOCH}"


@pytest.fixture(scope="module")
def predictions(evaluated) -> dict[str, str]:
    """The captions of the dev images in that evaluation."""
    rows = json.loads((evaluated / "predictions.json").read_text())
    return {row["image_id"]: row["caption"] for row in rows}


def test_each_epoch_of_a_run_has_its_dev_score(evaluated, workdir):
    metrics = json.loads((evaluated / "metrics.json").read_text())
    assert (metrics["checkpoint"], metrics["epoch"]) == (f"epoch-{EPOCH}", EPOCH)
    row = outputs.history(workdir)[EPOCH - 1]
    assert metrics["step"] == int(row["step"])
    assert metrics["cider"] == pytest.approx(float(row["dev_cider"]), rel=1e-4)


def test_evaluations_of_other_weights_lie_beside_that_of_the_best(evaluated, workdir, config):
    best = json.loads((workdir / "eval" / "dev" / "metrics.json").read_text())
    assert best["checkpoint"] == "best"
    assert best["epoch"] != EPOCH
    assert list(files.read_scores(str(workdir))) == ["dev", f"dev-epoch-{EPOCH}"]
    path = evaluate.report_path(config, str(workdir), "dev", [str(EPOCH)])
    assert path == str(evaluated / "report.html")
    assert f"dev-epoch-{EPOCH}</h1>" in Path(path).read_text(encoding="utf-8")


def test_an_export_has_the_epoch_s_weights_and_its_card_says_so(
    evaluated, workdir, config, landscape_data, predictions
):
    folder = Path(export.export_model(config, str(workdir), [str(EPOCH)]))
    name, expected = next(iter(predictions.items()))
    caption = tf.saved_model.load(str(folder)).signatures["serving_default"]
    found = caption(image_bytes=tf.constant([(landscape_data / name).read_bytes()]))
    assert found["caption"].numpy()[0].decode() == expected
    card = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    metrics = json.loads((evaluated / "metrics.json").read_text())
    assert f"| weights | epoch {EPOCH}, step {metrics['step']} |" in card
    (line,) = [line for line in card.splitlines() if line.startswith("| dev |")]
    assert f"{metrics['bleu1']:.3f}" in line


def test_caption_uses_a_run_s_weights_without_an_export(workdir, landscape_data, predictions):
    paths = [landscape_data / name for name in predictions]
    ended = processes.run_fork("caption", f"--model={workdir}", f"--checkpoint={EPOCH}", *paths)
    assert ended.status == 0
    assert ended.out.splitlines() == [
        f"{path}\t{predictions[path.name]}" for path in paths
    ]  # fmt: skip


def test_a_run_s_captioner_scores_captions_too(workdir, landscape_data, predictions):
    model = export.load_run(str(workdir), ["last"])
    captioner = FunctionCaptioner(str(workdir), model.signatures(), model)
    image = (landscape_data / next(iter(predictions))).read_bytes()
    (answer,), (score, other) = (
        captioner.caption([image]),
        captioner.score([image, image], ["a red sky", "sand sand sand"]),
    )
    assert answer.captions[0].score >= max(score, other) > min(score, other)


def test_two_checkpoints_are_compared_with_their_images(workdir, evaluated):
    found = compare.compare_runs(str(workdir), str(evaluated))
    assert set(found.differing) == {"checkpoint", "epoch", "step"}
    assert found.comparisons["cider"].difference < 0
    page = Path(found.page).read_text(encoding="utf-8")
    assert page.count("data:image/jpeg;base64,") == len(found.a.captions) == 9


@pytest.mark.parametrize("command", ["eval", "export", "caption"])
def test_an_epoch_that_was_not_kept_is_refused_with_those_that_were(workdir, command):
    arguments = {"caption": [f"--model={workdir}", "/etc/hostname"]}
    ended = processes.run_fork(
        command, *arguments.get(command, [f"--workdir={workdir}"]), "--checkpoint=99"
    )
    there = ", ".join(["best", "last", *map(str, range(1, 13))])
    assert ended.status == 2
    (line,) = ended.err.splitlines()
    assert line.startswith(f"imcap: --checkpoint=99: {workdir}/checkpoints holds {there} (")


def test_a_checkpoint_of_an_exported_model_is_refused(landscape_export):
    for folder in (landscape_export, landscape_export.parent):
        line = refusal(export.load_run, str(folder), ["best"])
        assert line.startswith(f"{folder} is not a run's folder: it has no config.json.")


def test_train_remembers_what_it_keeps(tmp_path, landscape_data, landscape_run):
    config = json.loads((landscape_run / "config.json").read_text())
    assert config["train"]["keep_checkpoints"] == "all"
    ended = processes.run_fork("train", f"--workdir={landscape_run}", "--keep_checkpoints=-1")
    assert ended.status == 2
    assert "config.train.keep_checkpoints='-1' must be all, a number" in ended.err
