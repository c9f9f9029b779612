"""A run's captions from both views of each image: evaluation, export, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import landscapes
import numpy as np
import pytest
import tensorflow as tf
from refusals import refusal
from signatures import caption, score

from imcap import evaluate, export, records
from imcap.metrics import files


@pytest.fixture(scope="module")
def flipped(landscape_data, tmp_path_factory) -> Path:
    """The records of the landscapes, with a second view of the dev images."""
    from beam_jobs import build_records

    folder = tmp_path_factory.mktemp("flipped")
    build_records.build_records(make_config(folder, landscape_data, folder))
    return folder


def make_config(workdir: Path, data: Path, records_dir: Path, flip_eval: bool = True, **changes):
    return landscapes.make_config(
        workdir, data, records__dir=str(records_dir), records__flip_eval=flip_eval, **changes
    )


@pytest.fixture(scope="module")
def workdir(landscape_run, tmp_path_factory) -> Path:
    """A run's folder with the weights of `landscape_run`."""
    folder = tmp_path_factory.mktemp("views")
    (folder / "checkpoints").symlink_to(landscape_run / "checkpoints")
    for name in ("config.json", "history.csv"):
        shutil.copy(landscape_run / name, folder)
    return folder


@pytest.fixture(scope="module")
def config(workdir, landscape_data, flipped):
    return make_config(workdir, landscape_data, flipped, decode__both_views=True)


@pytest.fixture(scope="module")
def evaluated(workdir, config) -> Path:
    """The folder of the evaluation."""
    evaluate.evaluate_split(config, str(workdir), "dev")
    return workdir / "eval" / "dev-both-views"


@pytest.fixture(scope="module")
def model(workdir, config, evaluated):
    return tf.saved_model.load(export.export_model(config, str(workdir)))


@pytest.fixture(scope="module")
def predictions(evaluated) -> list[dict]:
    return json.loads((evaluated / "predictions.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def images(predictions, landscape_data) -> list[bytes]:
    return [(landscape_data / row["image_id"]).read_bytes() for row in predictions]


def test_only_the_other_splits_get_a_second_view(flipped, landscape_data):
    folders = (flipped, landscape_data / "records")
    info, before = (records.read_info(str(folder)) for folder in folders)
    assert info.splits["train"] == before.splits["train"]
    assert info.splits["dev"]["views"] == [records.FEATURES, records.FLIPPED]
    assert before.splits["dev"]["views"] == [records.FEATURES]


def test_served_captions_are_the_evaluated_ones(model, predictions, images):
    found = caption(model, images)
    assert [words.decode() for words in found["caption"]] == [row["caption"] for row in predictions]
    np.testing.assert_allclose(found["score"], [row["score"] for row in predictions], atol=1e-4)
    again = score(model, images, found["caption"].tolist())
    np.testing.assert_allclose(again, found["score"], atol=1e-5)


def test_an_image_and_its_mirror_image_get_the_same_captions(model, images):
    decoded = [tf.io.decode_jpeg(image) for image in images]
    turned = [tf.io.encode_png(tf.reverse(pixels, [1])).numpy() for pixels in decoded]
    plain = [tf.io.encode_png(pixels).numpy() for pixels in decoded]
    one, other = caption(model, plain), caption(model, turned)
    np.testing.assert_array_equal(one["caption"], other["caption"])
    np.testing.assert_allclose(one["score"], other["score"], atol=1e-4)


def test_attention_covers_the_image_once(model, images):
    inputs = {"image_bytes": tf.constant(images[:2]), "caption": tf.constant(["a red sky"] * 2)}
    found = model.signatures["attention"](**inputs)["attention"].numpy()
    assert found.shape == (2, 4, 2, 2)
    np.testing.assert_allclose(found.sum(axis=(2, 3)), 1, atol=1e-5)


def test_the_evaluation_lies_beside_that_of_one_view(evaluated, model, workdir, config):
    metrics = json.loads((evaluated / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["both_views"] is True and metrics["checkpoint"] == "best"
    assert list(files.read_scores(str(workdir))) == ["dev-both-views"]
    assert evaluate.report_path(config, str(workdir), "dev") == str(evaluated / "report.html")
    assert len(list((evaluated / "attention").iterdir())) == 8
    card = (workdir / "export" / "1" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "of the image and its mirror image" in card and f"{metrics['cider']:.3f}" in card


def test_records_of_one_view_are_refused(workdir, landscape_data):
    config = landscapes.make_config(workdir, landscape_data, decode__both_views=True)
    line = refusal(evaluate.evaluate_split, config, str(workdir), "dev")
    assert line.startswith("config.decode.both_views needs the flipped view of each image")


def test_records_with_and_without_the_second_view_do_not_mix(flipped, landscape_data):
    from beam_jobs import build_records

    for folder, flip_eval in ((flipped, False), (landscape_data / "records", True)):
        config = make_config(folder, landscape_data, folder, flip_eval)
        line = refusal(build_records.build_records, config)
        assert f"records.flip_eval={not flip_eval}, now {flip_eval}" in line
