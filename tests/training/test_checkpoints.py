"""Checkpoints: what is restored, and what is refused."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import keras
import landscapes
import numpy as np
import pytest
import tensorflow as tf

from imcap import decoders, records
from imcap.decoders.base import Decoder
from imcap.errors import UserError
from imcap.training import checkpoints
from imcap.training.steps import TrainState


@pytest.fixture
def run(tmp_path, landscape_data):
    """The config of a run of which nothing is there yet but its records."""
    return landscapes.make_config(tmp_path, landscape_data)


@pytest.fixture(scope="module")
def info(landscape_data):
    return records.read_info(str(landscape_data / "records"))


def make_decoder(config, info: records.Info, seed: int) -> Decoder:
    decoder = decoders.build(config.model, info.text["vocabulary_size"], info.feature_shape[1])
    rng = np.random.default_rng(seed)
    for weight in decoder.weights:
        weight.assign(rng.normal(size=weight.shape))
    return decoder


def save(workdir: Path, decoder: Decoder, info: records.Info, name: str, step: int) -> str:
    """Saves a decoder as a training does; returns the checkpoint's path."""
    saved = make_checkpoints(workdir, decoder, info, step)
    saved.save_best() if name == "best" else saved.save_last()
    return checkpoints.find(str(workdir), name)


def make_checkpoints(
    workdir: Path, decoder: Decoder, info: records.Info, step: int
) -> checkpoints.Checkpoints:
    optimizer = keras.optimizers.SGD()
    optimizer.build(decoder.trainable_variables)
    counter = tf.Variable(step, dtype=tf.int64)
    state = TrainState(decoder, optimizer, counter, tf.Variable(tf.zeros([3])))
    metadata = checkpoints.Metadata(info.vocabulary_digest, "float32")
    return checkpoints.Checkpoints(str(workdir), state, metadata)


def assert_same_weights(one: Decoder, other: Decoder) -> None:
    for a, b in zip(one.weights, other.weights, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=a.path)


def test_the_best_weights_are_loaded_and_else_the_last(tmp_path, run, info):
    best, last = make_decoder(run, info, 1), make_decoder(run, info, 2)
    save(tmp_path, last, info, "last", 20)
    assert_same_weights(checkpoints.load_decoder(run.model, str(tmp_path), info), last)
    save(tmp_path, best, info, "best", 10)
    assert_same_weights(checkpoints.load_decoder(run.model, str(tmp_path), info), best)


def test_a_new_checkpoint_replaces_the_previous_one(tmp_path, run, info):
    decoder = make_decoder(run, info, 1)
    paths = [save(tmp_path, decoder, info, "last", step) for step in (5, 7)]
    assert [Path(path).name for path in paths] == ["last-5", "last-7"]
    folder = tmp_path / checkpoints.FOLDER / "last"
    assert sorted(path.name for path in folder.glob("*.index")) == ["last-7.index"]


def test_restore_returns_the_step_and_the_weights(tmp_path, run, info):
    decoder, other = make_decoder(run, info, 1), make_decoder(run, info, 2)
    save(tmp_path, decoder, info, "last", 20)
    assert make_checkpoints(tmp_path, other, info, 0).restore() == 20
    assert_same_weights(other, decoder)


def test_restore_without_a_checkpoint_returns_the_first_step(tmp_path, run, info):
    assert make_checkpoints(tmp_path, make_decoder(run, info, 1), info, 0).restore() == 0


def test_only_the_writing_process_writes(tmp_path, run, info):
    state = TrainState(
        make_decoder(run, info, 1), keras.optimizers.SGD(), tf.Variable(5, dtype=tf.int64),
        tf.Variable(tf.zeros([3])),
    )  # fmt: skip
    metadata = checkpoints.Metadata(info.vocabulary_digest, "float32")
    checkpoints.Checkpoints(str(tmp_path), state, metadata, write=False).save_last()
    assert not (tmp_path / checkpoints.FOLDER).exists()


def test_weights_of_another_vocabulary_are_refused(tmp_path, run, info):
    path = save(tmp_path, make_decoder(run, info, 1), info, "best", 10)
    other = dataclasses.replace(info, vocabulary_digest="0123456789abcdef")
    with pytest.raises(UserError, match=f"^{path} was trained with another vocabulary"):
        checkpoints.load_decoder(run.model, str(tmp_path), other)


def test_nothing_trained_is_an_error_that_names_the_folder(tmp_path, run, info):
    with pytest.raises(UserError, match=f"{tmp_path}/checkpoints holds no checkpoint: run `imcap"):
        checkpoints.load_decoder(run.model, str(tmp_path), info)


@pytest.mark.parametrize(
    "changes",
    [
        {"model__units": 8},
        {"model__embedding_size": 12},
        {"model__decoder": "inject"},
    ],
)
def test_weights_of_another_model_are_refused_in_one_line(
    tmp_path, landscape_data, run, info, changes
):
    path = save(tmp_path, make_decoder(run, info, 1), info, "best", 10)
    other = landscapes.make_config(tmp_path, landscape_data, **changes)
    with pytest.raises(UserError, match=r"does not fit config\.model") as caught:
        checkpoints.load_decoder(other.model, str(tmp_path), info)
    assert str(caught.value).startswith(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".index", ".data-00000-of-00001"])
@pytest.mark.parametrize("size", [0, 100, 1000])
def test_a_corrupted_checkpoint_is_an_error_that_names_it(tmp_path, run, info, suffix, size):
    path = save(tmp_path, make_decoder(run, info, 1), info, "best", 10)
    os.truncate(path + suffix, size)
    with pytest.raises(UserError, match=f"^{path}"):
        checkpoints.load_decoder(run.model, str(tmp_path), info)
