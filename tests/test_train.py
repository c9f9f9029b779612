"""Training: continued runs, and bad input."""

from __future__ import annotations

import shutil

import landscapes
import pytest
import tensorflow as tf
from training_steps import create_state

from imcap import records, runtime, train
from imcap.errors import UserError
from imcap.training.checkpoints import Checkpoints, Metadata

# --- continued runs ---------------------------------------------------------------------------


@pytest.mark.parametrize(("step", "epoch"), [(5, 2), (7, 2)])
def test_a_continued_training_says_where(tmp_path, landscape_data, caplog, step, epoch):
    config = landscapes.make_config(tmp_path, landscape_data, train__epochs=2)
    state = create_state(config)
    state.step.assign(step)
    metadata = Metadata(records.read_info(config.records.dir).vocabulary_digest, "float32")
    Checkpoints(str(tmp_path), state, metadata).save_last()
    with caplog.at_level("INFO", "absl"):
        train.train_and_evaluate(config, str(tmp_path), "none")
    assert f"continues at step {step} of 10, epoch {epoch}" in caplog.messages


def test_a_new_training_does_not_say_that_it_continues(tmp_path, landscape_data, caplog):
    config = landscapes.make_config(tmp_path, landscape_data, train__epochs=1)
    with caplog.at_level("INFO", "absl"):
        train.train_and_evaluate(config, str(tmp_path), "none")
    assert not [message for message in caplog.messages if "continues" in message]


@pytest.mark.parametrize("saved", ["float32", "bfloat16"])
def test_a_continued_run_keeps_its_compute_dtype(tmp_path, landscape_data, monkeypatch, saved):
    config = landscapes.make_config(tmp_path, landscape_data, train__compute_dtype="auto")
    info, strategy = records.read_info(config.records.dir), tf.distribute.get_strategy()
    rates = {"float32": 1.0, "bfloat16": 1.0} | {saved: 9.0}
    monkeypatch.setattr(runtime, "measure_gemms", lambda shapes: rates)
    metadata = train.choose_metadata(config, str(tmp_path), info, strategy)
    assert metadata.compute_dtype == saved
    Checkpoints(str(tmp_path), create_state(config), metadata).save_last()
    rates |= {"float32": 9.0, "bfloat16": 9.0} | {saved: 1.0}
    again = train.choose_metadata(config, str(tmp_path), info, strategy)
    assert again.compute_dtype == saved
    other = landscapes.make_config(tmp_path, landscape_data, train__compute_dtype="float32")
    assert train.choose_metadata(other, str(tmp_path), info, strategy).compute_dtype == "float32"


# --- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{"model__units": 8}, {"model__decoder": "inject"}])
def test_a_checkpoint_of_another_model_is_refused_in_one_line(
    landscape_run, landscape_data, changes, tmp_path
):
    # Without config.json, which would name the setting that differs.
    shutil.copytree(landscape_run / "checkpoints", tmp_path / "checkpoints")
    config = landscapes.make_config(tmp_path, landscape_data, **changes)
    with pytest.raises(UserError, match=r"does not fit config\.model") as caught:
        train.train_and_evaluate(config, str(tmp_path), "none")
    assert str(caught.value).startswith(str(tmp_path / "checkpoints" / "last" / "last-60"))
    assert "\n" not in str(caught.value)


@pytest.fixture
def reversed_records(tmp_path, landscape_data) -> str:
    """Copies of the records whose vocabulary has the same words in reverse order."""
    folder = tmp_path / "reversed"
    shutil.copytree(landscape_data / "records", folder)
    landscapes.reverse_vocabulary(folder, update_info=True)
    return str(folder)


def test_a_checkpoint_of_another_vocabulary_of_the_same_size_is_refused(
    landscape_run, landscape_data, reversed_records
):
    config = landscapes.make_config(landscape_run, landscape_data, records__dir=reversed_records)
    with pytest.raises(UserError, match="trained with another vocabulary") as caught:
        train.train_and_evaluate(config, str(landscape_run), "none")
    assert str(caught.value).startswith(str(landscape_run / "checkpoints" / "last" / "last-60"))
    assert "\n" not in str(caught.value)


def test_a_checkpoint_without_a_vocabulary_digest_is_refused(tmp_path, landscape_data):
    """Those of imcap 0.1.0 have none."""
    config = landscapes.make_config(tmp_path, landscape_data)
    step = tf.Variable(60, dtype=tf.int64)
    manager = tf.train.CheckpointManager(
        tf.train.Checkpoint(step=step), tmp_path / "checkpoints" / "last", 1, checkpoint_name="last"
    )
    path = manager.save(checkpoint_number=60)
    with pytest.raises(UserError, match=rf"^{path} was written by imcap 0\.1\.0"):
        train.train_and_evaluate(config, str(tmp_path), "none")


def test_records_of_another_image_size_are_refused(tmp_path, landscape_data):
    config = landscapes.make_config(tmp_path, landscape_data, encoder__image_size=48)
    with pytest.raises(UserError, match="image_size"):
        train.train_and_evaluate(config, str(tmp_path), "none")


def test_an_unknown_strategy_is_refused(tmp_path, landscape_data):
    config = landscapes.make_config(tmp_path, landscape_data)
    with pytest.raises(UserError, match="--distribute=all"):
        train.train_and_evaluate(config, str(tmp_path), "all")


def test_records_that_are_not_finished_are_refused(tmp_path):
    config = landscapes.make_config(tmp_path, tmp_path)
    with pytest.raises(UserError, match=f"{tmp_path}/records holds no finished records"):
        train.train_and_evaluate(config, str(tmp_path), "none")
