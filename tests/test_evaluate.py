"""Captions of a split, their scores and the files that hold them."""

from __future__ import annotations

import csv
import itertools
import json
import os
import shutil
from pathlib import Path

import landscapes
import numpy_bert
import outputs
import pytest
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge
from refusals import refusal

from imcap import evaluate, input_pipeline, records, text
from imcap.errors import UserError
from imcap.metrics import files, tables
from imcap.metrics.scores import score_captions
from imcap.reports import model_card


@pytest.fixture(scope="module")
def config(landscape_run, landscape_data):
    return landscapes.make_config(landscape_run, landscape_data)


def written(run: Path, name: str):
    return json.loads((run / "eval" / "dev" / name).read_text(encoding="utf-8"))


def dev_rows(data: Path) -> dict[str, list[str]]:
    """The raw captions of the dev images, from the table itself."""
    found: dict[str, list[str]] = {}
    with open(data / "captions.csv", newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["split"] == "dev":
                found.setdefault(row["image"], []).append(row["caption"])
    return found


def test_metrics_hold_scores_and_settings(landscape_run):
    metrics = written(landscape_run, "metrics.json")
    names = ["bleu1", "bleu2", "bleu3", "bleu4", "rouge_l", "cider"]
    settings = ["images", "split", "beam_size", "length_penalty", "checkpoint", "epoch", "step"]
    assert sorted(metrics) == sorted([*names, *settings, "intervals_95"])
    assert (metrics["images"], metrics["split"], metrics["checkpoint"]) == (9, "dev", "best")
    assert 1 <= metrics["epoch"] == metrics["step"] // 5 <= 12
    assert (metrics["beam_size"], metrics["length_penalty"]) == (3, 0.7)
    # Learnt well enough for meaningful scores, but not perfectly.
    assert all(0.2 < metrics[name] < 1 for name in names[:5])
    assert 1 < metrics["cider"] < 10


def test_every_score_lies_in_its_interval(landscape_run):
    metrics = written(landscape_run, "metrics.json")
    intervals = metrics["intervals_95"]
    assert list(intervals) == ["bleu1", "bleu2", "bleu3", "bleu4", "rouge_l", "cider"]
    for key, (low, high) in intervals.items():
        assert low < metrics[key] < high
    report = (landscape_run / "eval" / "dev" / "report.html").read_text(encoding="utf-8")
    low, high = intervals["bleu4"]
    assert f"{low:.4f} to {high:.4f}" in report


def test_predictions_have_the_coco_results_format(landscape_run, landscape_data):
    predictions = written(landscape_run, "predictions.json")
    assert sorted(row["image_id"] for row in predictions) == sorted(dev_rows(landscape_data))
    for row in predictions:
        assert list(row) == ["image_id", "caption", "score"]
        assert row["caption"] == text.standardize_all([row["caption"]])[0] != ""
        assert -5 < row["score"] < 0
    assert len({row["caption"] for row in predictions}) > 1


def test_references_are_standardized_captions(landscape_run):
    references = written(landscape_run, "references.json")
    assert len(references) == len(landscapes.SKIES) * len(landscapes.GROUNDS)
    scenes = itertools.product(landscapes.SKIES, landscapes.GROUNDS)
    for image_id, (sky, ground) in zip(sorted(references), scenes, strict=True):
        assert references[image_id] == [
            f"a {sky} sky over the {ground}",
            f"the {ground} lies under a wide {sky} sky",
            f"{ground} below and {sky} above",
        ]


def test_metrics_can_be_recomputed_from_the_files(landscape_run):
    metrics, references = (written(landscape_run, f"{n}.json") for n in ("metrics", "references"))
    predictions = written(landscape_run, "predictions.json")
    hypotheses = {row["image_id"]: [row["caption"]] for row in predictions}
    hypotheses = {image_id: hypotheses[image_id] for image_id in references}
    bleus, _ = Bleu(4).compute_score(references, hypotheses, verbose=0)
    rouge_l, _ = Rouge().compute_score(references, hypotheses)
    cider, _ = Cider().compute_score(references, hypotheses)
    for n, bleu in enumerate(bleus, 1):
        assert metrics[f"bleu{n}"] == pytest.approx(bleu, abs=1e-6)
    assert metrics["rouge_l"] == pytest.approx(rouge_l, abs=1e-6)
    assert metrics["cider"] == pytest.approx(cider, abs=1e-6)


def test_report_shows_every_image_with_its_captions(landscape_run, landscape_data):
    report = (landscape_run / "eval" / "dev" / "report.html").read_text(encoding="utf-8")
    for row in written(landscape_run, "predictions.json"):
        assert row["image_id"] in report
        assert row["caption"] in report
    samples = list((landscape_run / "eval" / "dev" / "attention").iterdir())
    assert samples
    num_images = len(dev_rows(landscape_data)) + len(samples)
    assert report.count("data:image/jpeg;base64,") == num_images


def test_dev_scores_in_training_equal_the_evaluation(landscape_run):
    metrics = written(landscape_run, "metrics.json")
    best = max(outputs.history(landscape_run), key=lambda row: float(row["dev_cider"]))
    for name in ("bleu1", "bleu4", "rouge_l", "cider"):
        assert float(best[f"dev_{name}"]) == pytest.approx(metrics[name], rel=1e-4)


def test_evaluating_again_writes_the_same_bytes(
    tmp_path, landscape_run, landscape_data, monkeypatch
):
    workdir = shutil.copytree(landscape_run, tmp_path / landscape_run.name)
    config = landscapes.make_config(workdir, landscape_data)
    folder = workdir / "eval" / "dev"
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    parsed = []
    original = input_pipeline.eval_dataset

    def eval_dataset(*args, **kwargs):
        parsed.append(args)
        return original(*args, **kwargs)

    monkeypatch.setattr(input_pipeline, "eval_dataset", eval_dataset)
    scores = evaluate.evaluate_split(config, str(workdir), "dev")
    assert {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()} == before
    assert scores.as_dict().items() <= written(landscape_run, "metrics.json").items()
    assert len(parsed) == 1  # The split is not read again for the attention maps.


def test_optional_metrics_are_scored_where_settings_ask(tmp_path, landscape_run, landscape_data):
    encoder = numpy_bert.write_encoder(tmp_path / "bert")
    shutil.copytree(landscape_run, tmp_path / "run")
    settings = {"eval__similarity_encoder": str(encoder), "eval__markers": True}
    config = landscapes.make_config(tmp_path / "run", landscape_data, **settings)
    evaluate.evaluate_split(config, str(tmp_path / "run"), "dev")

    before, found = (
        written(landscape_run, "metrics.json"),
        written(tmp_path / "run", "metrics.json"),
    )
    figures = {"similarity_best", "similarity_mean", "bleu1_markers", "bleu2_markers"}
    assert found.keys() - before.keys() == figures | {"similarity_encoder"}
    assert found["similarity_encoder"].startswith("bert, weights ")
    assert found["similarity_mean"] < found["similarity_best"] <= 1 + 1e-6
    assert found["bleu1"] < found["bleu1_markers"] < 1
    references = written(tmp_path / "run", "references.json")
    report = (tmp_path / "run" / "eval" / "dev" / "report.html").read_text(encoding="utf-8")
    assert report.count("<small>similarity ") == sum(map(len, references.values()))
    card = model_card.render(
        records.read_info(str(landscape_data / "records")),
        members=[model_card.Member("best", config.model, 1, 0, {"checkpoint": "best", "step": 5})],
        decode=config.decode,
        scores=files.read_scores(str(tmp_path / "run")),
    )
    for shown in (report, card, tables.format_table([str(tmp_path / "run")])):
        assert "Similarity, best" in shown and "not comparable with papers" in shown


def test_wrong_encoder_is_refused_before_captions_are_predicted(
    tmp_path, landscape_run, landscape_data, monkeypatch
):
    monkeypatch.setattr(input_pipeline, "eval_dataset", None)
    settings = {"eval__similarity_encoder": str(tmp_path / "none")}
    config = landscapes.make_config(landscape_run, landscape_data, **settings)
    line = refusal(evaluate.evaluate_split, config, str(landscape_run), "dev")
    assert line.startswith(f"{tmp_path}/none: no such folder")


def test_unknown_split_is_refused(landscape_run, config):
    with pytest.raises(UserError, match="the records hold no split 'val', only dev, train"):
        evaluate.evaluate_split(config, str(landscape_run), "val")
    assert not (landscape_run / "eval" / "val").exists()


def test_untrained_run_is_refused(tmp_path, landscape_data):
    config = landscapes.make_config(tmp_path, landscape_data)
    with pytest.raises(UserError, match="holds no checkpoint: run `imcap train`"):
        evaluate.evaluate_split(config, str(tmp_path), "dev")


@pytest.mark.parametrize(
    ("setting", "value"), [("image_size", 48), ("layer", "x"), ("pooling", "avg")]
)
def test_other_features_than_the_records_are_refused(landscape_run, landscape_data, setting, value):
    config = landscapes.make_config(landscape_run, landscape_data, **{f"encoder__{setting}": value})
    line = refusal(evaluate.evaluate_split, config, str(landscape_run), "dev")
    assert f"config.encoder has {setting}={value!r}" in line


def test_other_vocabulary_of_the_same_size_is_refused(tmp_path, landscape_run, landscape_data):
    shutil.copytree(landscape_data / "records", tmp_path / "records")
    path = landscapes.reverse_vocabulary(tmp_path / "records", update_info=False)
    folder = str(tmp_path / "records")
    config = landscapes.make_config(landscape_run, landscape_data, records__dir=folder)
    line = refusal(evaluate.evaluate_split, config, str(landscape_run), "dev")
    assert line.startswith(f"{path} is not the vocabulary")


def test_attention_maps_are_of_the_best_and_worst_captions(landscape_run):
    references = written(landscape_run, "references.json")
    predictions = written(landscape_run, "predictions.json")
    hypotheses = {row["image_id"]: row["caption"] for row in predictions}
    per_image = score_captions(references, {key: hypotheses[key] for key in references}).per_image
    by_cider = sorted(per_image, key=lambda key: (-per_image[key]["cider"], key))
    drawn = {path.stem for path in (landscape_run / "eval" / "dev" / "attention").iterdir()}
    shown = by_cider[:4] + by_cider[-4:]
    assert drawn == {f"{number}-{os.path.basename(key)}" for number, key in enumerate(shown)}
    report = (landscape_run / "eval" / "dev" / "report.html").read_text()
    assert report.count('<img class="maps" src="data:image/jpeg') == len(drawn)
