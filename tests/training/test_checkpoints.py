"""Weights on disk."""

from __future__ import annotations

import os
from pathlib import Path

import landscapes
import numpy as np
import pytest
import tensorflow as tf

from imcap import decoders, records
from imcap.decoders.base import Decoder
from imcap.errors import UserError
from imcap.training import checkpoints


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


def save(workdir: Path, decoder: Decoder, name: str, step: int) -> str:
    counter = tf.Variable(step, dtype=tf.int64)
    manager = checkpoints.manager(str(workdir), decoder, name, step=counter)
    return manager.save(checkpoint_number=step)


def assert_same_weights(one: Decoder, other: Decoder) -> None:
    for a, b in zip(one.weights, other.weights, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=a.path)


def test_the_best_weights_are_loaded_and_else_the_last(tmp_path, run, info):
    best, last = make_decoder(run, info, 1), make_decoder(run, info, 2)
    save(tmp_path, last, "last", 20)
    assert_same_weights(checkpoints.load_decoder(run, str(tmp_path), info), last)
    save(tmp_path, best, "best", 10)
    assert_same_weights(checkpoints.load_decoder(run, str(tmp_path), info), best)


def test_a_new_checkpoint_replaces_the_one_before(tmp_path, run, info):
    decoder, step = make_decoder(run, info, 1), tf.Variable(0, dtype=tf.int64)
    manager = checkpoints.manager(str(tmp_path), decoder, "last", step=step)
    paths = [manager.save(checkpoint_number=number) for number in (5, 7)]
    assert [Path(path).name for path in paths] == ["last-5", "last-7"]
    folder = tmp_path / checkpoints.FOLDER / "last"
    assert sorted(path.name for path in folder.glob("*.index")) == ["last-7.index"]
    assert tf.train.latest_checkpoint(str(folder)) == paths[1]


def test_nothing_trained_is_an_error_that_names_the_folder(tmp_path, run, info):
    with pytest.raises(UserError, match=f"{tmp_path}/checkpoints holds no checkpoint: run `imcap"):
        checkpoints.load_decoder(run, str(tmp_path), info)


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
    path = save(tmp_path, make_decoder(run, info, 1), "best", 10)
    other = landscapes.make_config(tmp_path, landscape_data, **changes)
    with pytest.raises(UserError, match=r"does not fit config\.model") as caught:
        checkpoints.load_decoder(other, str(tmp_path), info)
    assert str(caught.value).startswith(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".index", ".data-00000-of-00001"])
@pytest.mark.parametrize("size", [0, 100, 1000])
def test_a_damaged_checkpoint_is_an_error_that_names_it(tmp_path, run, info, suffix, size):
    path = save(tmp_path, make_decoder(run, info, 1), "best", 10)
    os.truncate(path + suffix, size)
    with pytest.raises(UserError, match=f"^{path}"):
        checkpoints.load_decoder(run, str(tmp_path), info)
