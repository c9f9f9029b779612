"""Runs in which the encoder's upper layers are trained with the decoder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import landscapes
import numpy as np
import outputs
import processes
import pytest
import tensorflow as tf
import train_worker
import tuned_runs
from refusals import refusal

from beam_jobs import build_records
from imcap import encoders, evaluate, export, records, train
from imcap.encoders import upper_layers
from imcap.serving import model_metadata
from imcap.training import checkpoints, dev_scores

DEADLINE = 180  # Seconds until a process counts as stuck.
_NAMES = [f"tuned_{number}" for number in range(6)]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Images, encoder, records of its features, and records of an inner layer's."""
    folder = tmp_path_factory.mktemp("data")
    landscapes.write_training_images(folder)
    tuned_runs.write_encoder(folder / "encoder.keras")
    build_records.build_records(landscapes.make_config(folder, folder))
    build_records.build_records(tuned_runs.make_config(folder, folder, records__crops=1))
    return folder


@pytest.fixture(scope="module")
def frozen_run(data, tmp_path_factory) -> Path:
    """A run on the whole encoder's features."""
    workdir = tmp_path_factory.mktemp("frozen")
    config = landscapes.make_config(workdir, data, train__epochs=4)
    train.train_and_evaluate(config, str(workdir), "none")
    return workdir


def make_config(workdir, data, frozen_run, **changes):
    values = {"train__from_checkpoint": str(frozen_run), **changes}
    return tuned_runs.make_config(workdir, data, **values)


@pytest.fixture(scope="module")
def tuned_run(data, frozen_run, tmp_path_factory) -> Path:
    """A run that went on from there with the upper layers, and was evaluated."""
    workdir = tmp_path_factory.mktemp("tuned")
    config = make_config(workdir, data, frozen_run)
    train.train_and_evaluate(config, str(workdir), "none")
    evaluate.evaluate_split(config, str(workdir), "dev")
    return workdir


def metrics(workdir, folder="dev"):
    return json.loads((workdir / "eval" / folder / "metrics.json").read_text())


def predictions(workdir, folder="dev"):
    return json.loads((workdir / "eval" / folder / "predictions.json").read_text())


# --- records ------------------------------------------------------------------------------------


def test_records_hold_what_the_upper_layers_read(data):
    info = records.read_info(str(data / tuned_runs.RECORDS))
    whole = records.read_info(str(data / "records"))
    assert info.feature_grid == (2, 2) and info.feature_shape == (4, 6)  # Of 4x4: it skips.
    assert whole.feature_shape == (4, 8)
    assert info.encoder["tune_from"] == tuned_runs.TUNE_FROM
    assert info.encoder["weights_digest"] != whole.encoder["weights_digest"]
    assert info.vocabulary_digest == whole.vocabulary_digest
    assert info.splits["train"]["views"] == ["features", "features_crop1"]


# --- training -----------------------------------------------------------------------------------


def test_a_run_begins_with_the_captions_of_the_frozen_one(data, frozen_run, tmp_path):
    config = landscapes.make_config(frozen_run, data, train__epochs=4)
    evaluate.evaluate_split(config, str(frozen_run), "dev")
    config = make_config(
        tmp_path, data, frozen_run, train__epochs=1, train__learning_rate=1e-9,
        train__encoder_learning_rate=1e-9,
    )  # fmt: skip
    train.train_and_evaluate(config, str(tmp_path), "none")
    evaluate.evaluate_split(config, str(tmp_path), "dev")
    found, expected = predictions(tmp_path), predictions(frozen_run)
    assert [row["caption"] for row in found] == [row["caption"] for row in expected]
    np.testing.assert_allclose(
        [row["score"] for row in found], [row["score"] for row in expected], atol=1e-3
    )


def test_the_upper_layers_and_the_decoder_change(data, tuned_run, frozen_run):
    after = outputs.saved_state(tuned_run, "last")
    before = outputs.saved_state(frozen_run, "best")
    key = "decoder/{}/.ATTRIBUTES/VARIABLE_VALUE"
    network, _ = upper_layers.load(tuned_runs.make_config(tuned_run, data).encoder)
    for name, weight in zip(_NAMES, network.get_weights(), strict=True):
        assert np.any(after[key.format(name)] != weight), name
    named = [name for name in before if name.startswith("decoder/")]
    assert {name for name in after if name.startswith("decoder/")} - {*named} == {
        key.format(name) for name in _NAMES
    }
    assert all(np.any(after[name] != before[name]) for name in named)


def test_dev_scores_while_training_are_those_of_the_evaluation(tuned_run):
    best = max(outputs.history(tuned_run), key=lambda row: float(row["dev_cider"]))
    assert float(best["dev_cider"]) == pytest.approx(metrics(tuned_run)["cider"], abs=1e-4)


def test_a_training_that_is_interrupted_within_an_epoch_continues_to_the_same_weights(
    data, frozen_run, tuned_run, tmp_path, monkeypatch
):
    config = make_config(tmp_path, data, frozen_run, train__checkpoint_minutes=0.0)

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as context, pytest.raises(KeyboardInterrupt):
        context.setattr(dev_scores, "evaluate", interrupt)
        train.train_and_evaluate(config, str(tmp_path), "none")
    assert outputs.step(tmp_path) == 4
    train.train_and_evaluate(config, str(tmp_path), "none")
    expected, found = (outputs.saved_state(run, "last") for run in (tuned_run, tmp_path))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_two_replicas_train_the_same_weights(data, frozen_run, tuned_run, tmp_path):
    config = make_config(tmp_path, data, frozen_run)
    path = tmp_path / "weights.npz"
    process = processes.fork(
        train_worker.train, config.to_dict(), str(tmp_path), "mirrored", str(path), {}
    )
    process.join(DEADLINE)
    assert process.exitcode == 0
    found, expected = np.load(path), outputs.saved_state(tuned_run, "last")
    assert found["replicas"] == 2 and set(_NAMES) < set(found)
    for name in set(found) - {"replicas", "captioned", "read"}:
        value = expected[f"decoder/{name}/.ATTRIBUTES/VARIABLE_VALUE"]
        np.testing.assert_allclose(found[name], value, rtol=1e-3, atol=1e-4, err_msg=name)


def test_self_critical_training_goes_on_from_tuned_layers(data, tuned_run, tmp_path):
    config = tuned_runs.make_config(
        tmp_path, data, train__objective="self_critical", train__epochs=1,
        train__from_checkpoint=str(tuned_run), train__self_critical__cross_entropy_weight=0.5,
    )  # fmt: skip
    decoder = train.train_and_evaluate(config, str(tmp_path), "none").decoder
    before = outputs.saved_state(tuned_run, "best")
    for name in _NAMES:
        value = before[f"decoder/{name}/.ATTRIBUTES/VARIABLE_VALUE"]
        found = decoder.weights_by_name()[name].numpy()
        assert np.any(found != value) and np.abs(found - value).max() < 0.2


# --- evaluation and export ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(data, tuned_run, frozen_run) -> Path:
    """The exported model of the best weights."""
    config = make_config(tuned_run, data, frozen_run)
    return Path(export.export_model(config, str(tuned_run)))


def test_exported_captions_are_those_of_the_evaluation(data, tuned_run, exported):
    check_captions(data, exported, predictions(tuned_run))


def test_exported_captions_of_an_ensemble_are_those_of_the_evaluation(data, tuned_run, frozen_run):
    config = make_config(tuned_run, data, frozen_run, decode__rerank="consensus")
    weights = ["best", "last"]
    evaluate.evaluate_split(config, str(tuned_run), "dev", weights)
    exported = export.export_model(config, str(tuned_run), weights)
    check_captions(data, exported, predictions(tuned_run, "dev-best+last-consensus"))
    with np.load(tuned_run / "neighbors.npz") as arrays:
        assert len(arrays["mean"]) == 8  # Channels of the tuned output; the records have 6.


def check_captions(data, exported, rows) -> None:
    """Checks that an exported model gives the predictions `rows`."""
    images = [(data / row["image_id"]).read_bytes() for row in rows]
    model = tf.saved_model.load(str(exported))
    found = model.signatures["serving_default"](image_bytes=tf.constant(images))
    captions = [caption.decode() for caption in found["caption"].numpy()]
    assert captions == [row["caption"] for row in rows]
    assert len({round(row["score"], 3) for row in rows}) > 5  # They depend on the image.
    np.testing.assert_allclose(found["score"], [row["score"] for row in rows], atol=1e-4)
    inputs = {"image_bytes": tf.constant(images[:1]), "caption": tf.constant(captions[:1])}
    assert model.signatures["attention"](**inputs)["attention"].shape[2:] == (2, 2)


def test_card_and_metadata_say_what_was_tuned(data, tuned_run, frozen_run, exported):
    config = make_config(tuned_run, data, frozen_run)
    decoder = checkpoints.load_decoder(
        config.model, str(tuned_run), records.read_info(config.records.dir), None, config.encoder
    )
    digest = decoder.encoding_digest()
    card = (exported / "MODEL_CARD.md").read_text()
    tuned = f"200 weights, digest {digest}; they give 2x2 positions of 8 channels"
    assert "| trained with the decoder | the encoder's layers above those" in card
    assert tuned in card and "tune from inner_out" in card
    metadata = json.loads((exported / model_metadata.PATH).read_text())
    assert tuned in metadata["tuned"]
    assert metadata["encoder"]["weights_digest"] == encoders.build(config.encoder).digest()


# --- refusals -----------------------------------------------------------------------------------


def test_records_of_another_layer_are_refused(data, tuned_run, frozen_run):
    config = make_config(tuned_run, data, frozen_run, records__dir=str(data / "records"))
    line = f"config.encoder has tune_from='inner_out', but {data}/records was encoded with ''"
    assert refusal(train.train_and_evaluate, config, str(tuned_run), "none").startswith(line)
    assert refusal(evaluate.evaluate_split, config, str(tuned_run), "dev").startswith(line)
    assert refusal(export.export_model, config, str(tuned_run)).startswith(line)


def test_records_of_an_inner_layer_are_no_features(data, frozen_run):
    folder = str(data / tuned_runs.RECORDS)
    config = landscapes.make_config(frozen_run, data, train__epochs=4, records__dir=folder)
    line = refusal(evaluate.evaluate_split, config, str(frozen_run), "dev")
    assert line.startswith(f"config.encoder has tune_from='', but {folder} was encoded with 'inner")


def test_weights_of_another_file_are_refused(data, frozen_run, tmp_path):
    tuned_runs.write_encoder(tmp_path / "encoder.keras", seed=9)
    config = make_config(
        tmp_path, data, frozen_run, encoder__name=str(tmp_path / "encoder.keras"),
        train__from_checkpoint="",
    )  # fmt: skip
    line = refusal(train.train_and_evaluate, config, str(tmp_path), "none")
    assert line.startswith("config.encoder has weights with digest")


def test_a_tuned_run_is_no_start_for_one_with_a_frozen_encoder(data, tuned_run, tmp_path):
    config = landscapes.make_config(tmp_path, data, train__from_checkpoint=str(tuned_run))
    line = refusal(train.train_and_evaluate, config, str(tmp_path), "none")
    assert "was trained with encoder.tune_from='inner_out', now ''" in line
    shutil.copytree(tuned_run / "checkpoints", tmp_path / "bare" / "checkpoints")
    config = landscapes.make_config(tmp_path, data, train__from_checkpoint=str(tmp_path / "bare"))
    line = refusal(train.train_and_evaluate, config, str(tmp_path), "none")
    assert "does not fit config.model: it also holds tuned_0" in line
