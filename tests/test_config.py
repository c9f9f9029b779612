"""Settings: their defaults, the values that are refused, and what is written to config.json."""

from __future__ import annotations

import json
import os

import permissions
import pytest

from imcap import config as config_lib
from imcap.errors import UserError


def changed(key: str, value: object) -> config_lib.ConfigDict:
    config = config_lib.default()
    config.update_from_flattened_dict({key: value})
    return config


def test_the_defaults_are_valid() -> None:
    config_lib.validate(config_lib.default())


@pytest.mark.parametrize(
    ("key", "value", "rule"),
    [
        ("encoder.image_size", 0, "greater than 0"),
        ("encoder.batch_size", -1, "at least 0"),
        ("encoder.max_pixels", 0, "greater than 0"),
        ("encoder.width", 0, "greater than 0"),
        ("encoder.stages", 0, "greater than 0"),
        ("encoder.pretrain.epochs", 0, "greater than 0"),
        ("encoder.pretrain.batch_size", 0, "greater than 0"),
        ("encoder.pretrain.learning_rate", 0.0, "greater than 0"),
        ("encoder.pretrain.words", 0, "greater than 0"),
        ("records.num_shards", -1, "at least 0"),
        ("records.shard_mb", 0.0, "greater than 0"),
        ("records.limit", -1, "at least 0"),
        ("text.max_length", 0, "greater than 0"),
        ("text.min_count", 0, "greater than 0"),
        ("text.vocab_size", -5, "greater than 0"),
        ("model.units", 0, "greater than 0"),
        ("model.embedding_size", 0, "greater than 0"),
        ("model.heads", 0, "greater than 0"),
        ("train.batch_size", 0, "greater than 0"),
        ("train.epochs", 0, "greater than 0"),
        ("train.learning_rate", 0.0, "greater than 0"),
        ("train.learning_rate", float("nan"), "greater than 0"),
        ("train.eval_every", 0, "greater than 0"),
        ("train.shuffle_buffer", 0, "greater than 0"),
        ("decode.beam_size", 0, "greater than 0"),
        ("decode.max_length", 0, "greater than 0"),
        ("model.dropout", 1.0, "below 1"),
        ("model.embedding_dropout", -0.1, "at least 0"),
        ("model.feature_dropout", 1.5, "below 1"),
        ("train.label_smoothing", 1.0, "below 1"),
        ("train.warmup", 1.0, "below 1"),
        ("train.weight_decay", -0.1, "at least 0"),
        ("train.clip_norm", -1.0, "at least 0"),
        ("train.patience", -1, "at least 0"),
        ("train.eval_images", -1, "at least 0"),
        ("decode.no_repeat_ngram", -1, "at least 0"),
        ("encoder.pooling", "max", "spatial, avg"),
        ("records.dtype", "float64", "float16, bfloat16, float32"),
        ("records.compression", "ZIP", "GZIP"),
        ("model.decoder", "transformer", "attention"),
        ("train.compute_dtype", "int8", "float32, bfloat16"),
        ("train.best_metric", "loss", "rouge_l, cider"),
    ],
)
def test_a_value_that_cannot_work_is_refused_by_key(key: str, value: object, rule: str) -> None:
    with pytest.raises(UserError) as caught:
        config_lib.validate(changed(key, value))
    message = str(caught.value)
    assert f"config.{key}={value!r}" in message
    assert rule in message
    assert "\n" not in message


def test_heads_must_divide_units() -> None:
    with pytest.raises(UserError, match=r"^config\.model\.heads=3 must divide model\.units=512$"):
        config_lib.validate(changed("model.heads", 3))


def test_a_misspelt_key_names_the_nearest_one() -> None:
    config = config_lib.default()
    with pytest.raises(AttributeError, match="batch_size"):
        config.train.batchsize = 8
    with pytest.raises(KeyError, match="learning_rate"):
        config.update_from_flattened_dict({"train.learning_rat": 0.1})


def test_a_value_of_another_type_is_refused() -> None:
    with pytest.raises(TypeError, match=r"batch_size"):
        config_lib.default().train.batch_size = "many"


def test_resolving_puts_the_workdir_into_every_path() -> None:
    config = config_lib.default()
    config.dataset.dir = "{workdir}/shapes"
    config.encoder.name = "{workdir}/network.keras"
    config.encoder.weights = "{workdir}/encoder.weights.h5"
    config.records.dir = "{workdir}/shared"
    config.text.vocabulary = "{workdir}/vocab.txt"
    resolved = config_lib.resolve(config, "runs/a")
    assert resolved.dataset.dir == "runs/a/shapes"
    assert resolved.encoder.name == "runs/a/network.keras"
    assert resolved.encoder.weights == "runs/a/encoder.weights.h5"
    assert resolved.records.dir == "runs/a/shared"
    assert resolved.text.vocabulary == "runs/a/vocab.txt"


def test_records_lie_in_the_workdir_unless_a_folder_is_given() -> None:
    config = config_lib.default()
    assert config_lib.resolve(config, "runs/a").records.dir == "runs/a/records"
    config.records.dir = "elsewhere"
    assert config_lib.resolve(config, "runs/a").records.dir == "elsewhere"


def test_resolving_leaves_its_argument_alone_and_locks_the_result() -> None:
    config = changed("dataset.dir", "{workdir}/shapes")
    resolved = config_lib.resolve(config, "runs/a")
    assert config.dataset.dir == "{workdir}/shapes"
    with pytest.raises(AttributeError):
        resolved.train.new_key = 1


def test_resolving_refuses_what_validate_refuses() -> None:
    with pytest.raises(UserError, match=r"records\.num_shards"):
        config_lib.resolve(changed("records.num_shards", -1), "runs/a")


def test_config_json_holds_every_setting(tmp_path) -> None:
    config = config_lib.resolve(changed("train.learning_rate", 0.25), str(tmp_path))
    config_lib.save(config, str(tmp_path))
    saved = json.loads((tmp_path / "config.json").read_text("utf-8"))
    restored = config_lib.default()
    restored.update(saved)
    assert restored == config
    assert restored.dataset.ratios == (0.8, 0.1, 0.1)
    assert restored.train.learning_rate == 0.25


def test_saving_makes_the_workdir_replaces_the_file_and_leaves_nothing_else(tmp_path) -> None:
    workdir = tmp_path / "runs" / "a"
    config_lib.save(config_lib.default(), str(workdir))
    config_lib.save(changed("seed", 7), str(workdir))
    assert os.listdir(workdir) == ["config.json"]
    assert json.loads((workdir / "config.json").read_text("utf-8"))["seed"] == 7


def test_a_workdir_that_cannot_be_written_is_named(tmp_path) -> None:
    (tmp_path / "file").write_text("in the way")
    workdir = str(tmp_path / "file" / "run")
    with pytest.raises(UserError) as caught:
        config_lib.save(config_lib.default(), workdir)
    assert str(caught.value) == f"--workdir={workdir} cannot be written: Not a directory"


def test_a_read_only_workdir_is_named(tmp_path) -> None:
    tmp_path.chmod(0o500)
    denied = pytest.raises(UserError, match="cannot be written: Permission denied")
    with permissions.without_privileges(), denied:
        config_lib.save(config_lib.default(), str(tmp_path))
