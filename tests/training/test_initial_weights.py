"""A run that starts from another run's weights."""

from __future__ import annotations

import json
import shutil

import landscapes
import numpy as np
import outputs
import pytest
from refusals import refusal

from imcap import config as config_lib
from imcap import decoders, records, train
from imcap.training import checkpoints, initial_weights


@pytest.fixture(scope="module")
def info(landscape_data):
    return records.read_info(str(landscape_data / "records"))


def make_config(workdir, data, source, **changes):
    return landscapes.make_config(workdir, data, train__from_checkpoint=str(source), **changes)


def load(config, info):
    decoder = decoders.build(config.model, info.text["vocabulary_size"], info.feature_shape[1])
    initial_weights.load(config, decoder, info)
    return {weight.name: weight.numpy() for weight in decoder.weights}


@pytest.mark.parametrize(
    ("folder", "wanted"),
    [
        ("", "best"),
        ("checkpoints/best", "best"),
        ("checkpoints/last", "last"),
        ("checkpoints/epoch-7", "7"),
    ],
)
def test_weights_are_those_of_the_run_or_checkpoint(
    tmp_path, landscape_run, landscape_data, info, folder, wanted
):
    config = make_config(tmp_path, landscape_data, landscape_run / folder)
    chosen = checkpoints.choose(str(landscape_run), wanted)
    expected = checkpoints.load_decoder(config.model, str(landscape_run), info, chosen)
    found = load(config, info)
    assert initial_weights.find(str(landscape_run / folder)) == chosen.path
    for weight in expected.weights:
        np.testing.assert_array_equal(found[weight.name], weight.numpy(), err_msg=weight.name)


def test_a_new_run_starts_with_the_weights_alone_and_remembers_the_source(
    tmp_path, landscape_run, landscape_data, caplog
):
    config = make_config(
        tmp_path, landscape_data, landscape_run, train__epochs=1, train__learning_rate=1e-9
    )
    with caplog.at_level("INFO", "absl"):
        trained = train.train_and_evaluate(config, str(tmp_path), "none")
    assert f"starts from the weights of {initial_weights.find(str(landscape_run))}" in caplog.text
    expected = landscapes.load_trained(landscape_run, landscape_data).decoder
    for found, weight in zip(trained.decoder.weights, expected.weights, strict=True):
        np.testing.assert_allclose(found.numpy(), weight.numpy(), atol=1e-6)
    assert outputs.step(tmp_path) == 5
    kept = config_lib.read(str(tmp_path))
    assert kept is not None and kept.train.from_checkpoint == str(landscape_run)


def test_a_continued_run_does_not_need_the_source(tmp_path, landscape_run, landscape_data):
    source, workdir = tmp_path / "source", tmp_path / "run"
    shutil.copytree(landscape_run, source)
    config = make_config(workdir, landscape_data, source, train__epochs=1)
    first = train.train_and_evaluate(config, str(workdir), "none").decoder
    shutil.rmtree(source)
    again = train.train_and_evaluate(config, str(workdir), "none").decoder
    for one, other in zip(first.weights, again.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_a_folder_without_a_checkpoint_is_refused(tmp_path, landscape_data, info):
    config = make_config(tmp_path, landscape_data, tmp_path / "none")
    line = refusal(load, config, info)
    assert line.startswith(f"config.train.from_checkpoint='{tmp_path}/none' is neither a run's")
    assert line.endswith("give another --config.train.from_checkpoint")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model__units": 8}, "was trained with model.units=16, now 8"),
        ({"model__heads": 4}, "was trained with model.heads=1, now 4"),  # Of the same shapes.
        ({"encoder__layer": "elsewhere"}, "was trained with encoder.layer='', now 'elsewhere'"),
    ],
)
def test_a_run_of_another_model_or_encoder_is_refused(
    tmp_path, landscape_run, landscape_data, info, changes, named
):
    config = make_config(tmp_path, landscape_data, landscape_run, **changes)
    line = refusal(load, config, info)
    assert line.startswith(initial_weights.find(str(landscape_run)))
    assert named in line and "give another --config.train.from_checkpoint" in line


def test_other_dropout_is_taken(tmp_path, landscape_run, landscape_data, info):
    load(make_config(tmp_path, landscape_data, landscape_run, model__dropout=0.4), info)


def test_other_shapes_are_refused_where_the_run_s_config_is_not_there(
    tmp_path, landscape_run, landscape_data, info
):
    shutil.copytree(landscape_run / "checkpoints", tmp_path / "checkpoints")
    config = make_config(tmp_path, landscape_data, tmp_path, model__units=8)
    line = refusal(load, config, info)
    assert "does not fit config.model and the records" in line
    assert line.endswith("give another --config.train.from_checkpoint")


def test_another_vocabulary_is_refused(tmp_path, landscape_run, landscape_data):
    folder = tmp_path / "records"
    shutil.copytree(landscape_data / "records", folder)
    landscapes.reverse_vocabulary(folder, update_info=True)
    config = make_config(tmp_path, landscape_data, landscape_run, records__dir=str(folder))
    line = refusal(load, config, records.read_info(str(folder)))
    assert "was trained with another vocabulary" in line
    assert line.endswith("give another --config.train.from_checkpoint")


def test_a_path_below_the_run_s_folder_is_kept_relative_to_it(tmp_path, landscape_data):
    config = make_config(tmp_path, landscape_data, "{workdir}/start")
    config_lib.save(config, str(tmp_path))
    content = json.loads((tmp_path / "config.json").read_text())
    assert content["train"]["from_checkpoint"] == "{workdir}/start"
