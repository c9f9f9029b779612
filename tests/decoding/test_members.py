"""Which checkpoints captions are made with: their names, and what does not fit together."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import landscapes
import pytest
from refusals import refusal
from saved_checkpoints import make_checkpoints, make_decoder

from imcap import config as config_lib
from imcap import records
from imcap.decoders.base import Decoder
from imcap.decoding import members
from imcap.decoding.ensemble import Ensemble


@pytest.fixture(scope="module")
def info(landscape_data) -> records.Info:
    return records.read_info(str(landscape_data / "records"))


@pytest.fixture(scope="module")
def runs(landscape_data, info, tmp_path_factory) -> Path:
    """A folder with the runs `a` and `b` of one data set and of different decoders."""
    folder = tmp_path_factory.mktemp("runs")
    for seed, (name, changes) in enumerate({"a": {}, "b": {"decoder": "inject"}}.items()):
        changes = {f"model__{key}": value for key, value in changes.items()}
        save(folder / name, landscapes.make_config(folder / name, landscape_data, **changes), seed)
    return folder


def save(workdir: Path, config, seed: int) -> None:
    """Makes a run of which all checkpoints but the last are there."""
    config_lib.save(config, str(workdir))
    info = records.read_info(config.records.dir)
    saved = make_checkpoints(workdir, make_decoder(config, info, seed), info, 10 + seed, keep="all")
    saved.save_best()
    saved.save_epoch(2)


def find(runs: Path, *wanted: object) -> list[members.Member]:
    return members.find(str(runs / "a"), [str(one) for one in wanted])


@pytest.mark.parametrize(
    ("wanted", "name", "files"),
    [
        (["best"], "", ["a/checkpoints/best/best-10"]),
        (["{runs}/a"], "", ["a/checkpoints/best/best-10"]),
        (["2"], "epoch-2", ["a/checkpoints/epoch-2/weights"]),
        (["{runs}/a/checkpoints/epoch-2"], "epoch-2", ["a/checkpoints/epoch-2/weights"]),
        (["{runs}/b"], "b", ["b/checkpoints/best/best-11"]),
        (["{runs}/b/checkpoints/best/"], "b", ["b/checkpoints/best/best-11"]),
        (
            ["best", "{runs}/b/checkpoints/epoch-2", "2"],
            "best+b-epoch-2+epoch-2",
            [
                "a/checkpoints/best/best-10",
                "b/checkpoints/epoch-2/weights",
                "a/checkpoints/epoch-2/weights",
            ],
        ),
    ],
)
def test_checkpoints_are_found_by_name_and_by_folder(runs, wanted, name, files):
    found = find(runs, *(one.format(runs=runs) for one in wanted))
    assert [os.path.relpath(member.chosen.path, runs) for member in found] == files
    assert members.name(found) == name


def test_runs_of_one_name_in_different_folders_are_told_apart(runs, tmp_path):
    names = set()
    for parent in (tmp_path / "x", tmp_path / "y", runs / "a" / "sub"):
        shutil.copytree(runs / "b", parent / "b")
        names.add(members.name(find(runs, "best", parent / "b")))
    assert len(names) == 3 and not any(os.sep in name for name in names)
    shutil.rmtree(runs / "a" / "sub")


def test_many_members_have_a_short_name(runs, tmp_path):
    folders = [tmp_path / f"{number}{'x' * 40}" for number in range(4)]
    for folder in folders:
        shutil.copytree(runs / "b", folder)
    names = {members.name(find(runs, *chosen)) for chosen in (folders, folders[:3], folders[1:])}
    assert len(names) == 3 and max(map(len, names)) < 100
    assert members.name(find(runs, *folders)).startswith("ensemble-of-4-")


def test_one_own_checkpoint_is_a_decoder_and_several_are_an_ensemble(runs, landscape_data, info):
    config = landscapes.make_config(runs / "a", landscape_data)
    assert isinstance(members.load(find(runs, "best"), config, info), Decoder)
    assert isinstance(members.load(find(runs, runs / "b"), config, info), Decoder)
    assert isinstance(members.load(find(runs, "best", runs / "b"), config, info), Ensemble)


def test_a_description_tells_the_members_of_all_but_the_own_run(runs):
    assert members.describe(find(runs, "2")) == {"checkpoint": "epoch-2", "epoch": 2, "step": 10}
    found = find(runs, "2", runs / "b")
    assert members.describe(found) == {
        "checkpoint": "epoch-2+b",
        "members": ["epoch-2, epoch 2, step 10", "b, step 11"],
    }
    assert members.describe(find(runs, runs / "b"))["members"] == ["b, step 11"]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (["best", "9"], "--checkpoint=9: {runs}/a/checkpoints holds best, 2 ("),
        (["bset"], "--checkpoint=bset: {runs}/a/checkpoints holds best, 2 ("),
        (["{runs}/c"], "--checkpoint={runs}/c: there is no such folder"),
        (["{runs}"], "{runs}/checkpoints holds no checkpoint"),
        (
            ["best", "{runs}/a"],
            "--checkpoint={runs}/a: {runs}/a/checkpoints/best/best-10 is given ",
        ),
        ([], "--checkpoint is given without a value"),
    ],
)
def test_what_is_not_there_is_refused(runs, wanted, message):
    line = refusal(find, runs, *(one.format(runs=runs) for one in wanted))
    assert line.startswith(message.format(runs=runs))


def refused(runs: Path, other: Path, landscape_data: Path, info: records.Info) -> str:
    """Returns the line with which the run `other` is refused as a member beside the run `a`."""
    config = landscapes.make_config(runs / "a", landscape_data)
    return refusal(members.load, find(runs, "best", other), config, info)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("encoder__layer", "average_pooling2d"), ("encoder__image_size", 48)],
)
def test_a_run_of_another_encoder_is_refused(runs, tmp_path, landscape_data, info, setting, value):
    save(tmp_path, landscapes.make_config(tmp_path, landscape_data, **{setting: value}), 0)
    line = refused(runs, tmp_path, landscape_data, info)
    assert line.startswith(f"{tmp_path}/checkpoints/best/best-10 was trained on features of ")
    assert f"{setting.partition('__')[2]}={value!r}, but the records have " in line
    assert line.endswith(f"leave out --checkpoint={tmp_path}")


def test_a_run_of_an_encoder_with_other_weights_is_refused(runs, tmp_path, landscape_data, info):
    shutil.copytree(landscape_data / "records", tmp_path / "records")
    path = tmp_path / "records" / records.INFO
    values = json.loads(path.read_text())
    values["encoder"]["weights_digest"] = "0123"
    path.write_text(json.dumps(values))
    config = landscapes.make_config(
        tmp_path, landscape_data, records__dir=str(tmp_path / "records")
    )
    save(tmp_path, config, 0)
    assert "weights_digest='0123', but the records have" in refused(
        runs, tmp_path, landscape_data, info
    )


def test_a_run_of_another_vocabulary_is_refused(runs, tmp_path, landscape_data, info):
    shutil.copytree(landscape_data / "records", tmp_path / "records")
    landscapes.reverse_vocabulary(tmp_path / "records", update_info=True)
    config = landscapes.make_config(
        tmp_path, landscape_data, records__dir=str(tmp_path / "records")
    )
    save(tmp_path, config, 0)
    line = refused(runs, tmp_path, landscape_data, info)
    assert line.startswith(f"{tmp_path}/checkpoints/best/best-10 was trained with another vocab")


def test_a_member_whose_records_are_gone_is_taken_by_its_settings(
    runs, tmp_path, landscape_data, info
):
    config = landscapes.make_config(tmp_path, landscape_data)
    save(tmp_path, config, 0)
    path = tmp_path / config_lib.CONFIG_JSON
    path.write_text(path.read_text().replace(str(landscape_data / "records"), "/nowhere"))
    assert members.load(find(runs, "best", tmp_path), config, info)


def test_weights_without_their_run_s_config_are_refused(runs, tmp_path, landscape_data, info):
    shutil.copytree(runs / "b" / "checkpoints", tmp_path / "checkpoints")
    assert refused(runs, tmp_path, landscape_data, info).startswith(
        f"--checkpoint={tmp_path}: {tmp_path} has no config.json"
    )


def test_a_corrupted_checkpoint_is_named(runs, tmp_path, landscape_data, info):
    shutil.copytree(runs / "b", tmp_path / "b")
    (tmp_path / "b" / "checkpoints" / "best" / "best-11.index").write_bytes(b"not an index")
    line = refused(runs, tmp_path / "b", landscape_data, info)
    assert line.startswith(f"{tmp_path}/b/checkpoints/best/best-11 is corrupted (")
