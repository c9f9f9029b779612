"""A run's config: paths filled in, config.json, and the changes that a trained run refuses."""

from __future__ import annotations

import json
import os

import permissions
import pytest
from tiny_runs import changed_config

from imcap import config as config_lib
from imcap.errors import UserError


def test_resolving_puts_the_workdir_into_every_path() -> None:
    config = config_lib.default()
    config.dataset.dir = "{workdir}/shapes"
    config.encoder.name = "{workdir}/network.keras"
    config.encoder.weights = "{workdir}/encoder.weights.h5"
    config.model.word_vectors = "{workdir}/captions.bin"
    config.records.dir = "{workdir}/shared"
    config.records.cache_dir = "{workdir}/cache"
    config.text.vocabulary = "{workdir}/vocab.txt"
    resolved = config_lib.resolve(config, "runs/a")
    assert resolved.dataset.dir == "runs/a/shapes"
    assert resolved.encoder.name == "runs/a/network.keras"
    assert resolved.encoder.weights == "runs/a/encoder.weights.h5"
    assert resolved.model.word_vectors == "runs/a/captions.bin"
    assert resolved.records.dir == "runs/a/shared"
    assert resolved.records.cache_dir == "runs/a/cache"
    assert resolved.text.vocabulary == "runs/a/vocab.txt"


def test_records_lie_in_the_workdir_unless_a_folder_is_given() -> None:
    config = config_lib.default()
    assert config_lib.resolve(config, "runs/a").records.dir == "runs/a/records"
    config.records.dir = "elsewhere"
    assert config_lib.resolve(config, "runs/a").records.dir == "elsewhere"


def test_resolving_leaves_its_argument_alone_and_locks_the_result() -> None:
    config = changed_config("dataset.dir", "{workdir}/shapes")
    resolved = config_lib.resolve(config, "runs/a")
    assert config.dataset.dir == "{workdir}/shapes"
    with pytest.raises(AttributeError):
        resolved.train.new_key = 1


def test_resolving_refuses_what_validate_refuses() -> None:
    with pytest.raises(UserError, match=r"records\.num_shards"):
        config_lib.resolve(changed_config("records.num_shards", -1), "runs/a")


def test_config_json_holds_every_setting(tmp_path) -> None:
    config = config_lib.resolve(changed_config("train.learning_rate", 0.25), str(tmp_path))
    config_lib.save(config, str(tmp_path))
    restored = config_lib.resolve(config_lib.read(str(tmp_path)), str(tmp_path))
    assert restored == config
    assert restored.dataset.ratios == (0.8, 0.1, 0.1)
    assert restored.train.learning_rate == 0.25


def test_no_config_json_is_no_config(tmp_path) -> None:
    assert config_lib.read(str(tmp_path)) is None


def test_config_json_holds_for_a_workdir_that_was_moved(tmp_path) -> None:
    old, new = str(tmp_path / "old"), str(tmp_path / "new")
    config_lib.save(config_lib.resolve(changed_config("dataset.dir", "{workdir}/shapes"), old), old)
    os.rename(old, new)
    config = config_lib.resolve(config_lib.read(new), new)
    assert config.dataset.dir == f"{new}/shapes"
    assert config.records.dir == f"{new}/records"
    assert old not in (tmp_path / "new" / "config.json").read_text()


def test_config_json_of_other_versions_is_read(tmp_path) -> None:
    values = {"seed": 7, "train": {"epochs": 3, "gone": 1}, "removed": {"a": 1}}
    (tmp_path / "config.json").write_text(json.dumps(values))
    config = config_lib.read(str(tmp_path))
    assert (config.seed, config.train.epochs, config.train.batch_size) == (7, 3, 64)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"train": 3}', '{"train": {"epochs": "x"}}'])
def test_corrupted_config_json_is_named(tmp_path, content) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match=r"config\.json is corrupted: give --config=NAME, or"):
        config_lib.read(str(tmp_path))


def test_home_is_expanded_in_every_path(monkeypatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    config = config_lib.default()
    for part, key in (("dataset", "dir"), ("encoder", "weights"), ("records", "dir")):
        config[part][key] = "~/x"
    resolved = config_lib.resolve(config, "runs/a")
    assert resolved.dataset.dir == "/home/me/x"
    assert resolved.encoder.weights == "/home/me/x"
    assert resolved.records.dir == "/home/me/x"


def test_a_trained_run_refuses_settings_that_contradict_it(tmp_path) -> None:
    workdir = str(tmp_path)
    config = config_lib.resolve(config_lib.default(), workdir)
    other = config_lib.resolve(changed_config("text.min_count", 9), workdir)
    config_lib.save(config, workdir)
    config_lib.check_run(other, workdir)  # Nothing is trained yet.
    (tmp_path / "checkpoints" / "last").mkdir(parents=True)
    (tmp_path / "checkpoints" / "last" / "checkpoint").write_text("")
    config_lib.check_run(config, workdir)
    with pytest.raises(UserError, match=r"checkpoints was trained with text\.min_count=4, now 9"):
        config_lib.check_run(other, workdir)


def test_saving_makes_the_workdir_replaces_the_file_and_leaves_nothing_else(tmp_path) -> None:
    workdir = tmp_path / "runs" / "a"
    config_lib.save(config_lib.default(), str(workdir))
    config_lib.save(changed_config("seed", 7), str(workdir))
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
