"""info.json: what it tells, the refusal of corrupted files and of another encoder."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from record_infos import CHANNELS, POSITIONS, make_info
from refusals import refusal

from imcap import config as config_lib
from imcap import records
from imcap.errors import UserError


def write_info(folder: Path, **changes: object) -> Path:
    values = {**dataclasses.asdict(make_info()), **changes}
    (folder / records.COMPLETED).touch()
    (folder / records.INFO).write_text(json.dumps(values), "utf-8")
    return folder / records.INFO


def test_info_is_read_as_it_was_written(tmp_path) -> None:
    write_info(tmp_path)
    info = records.read_info(str(tmp_path))
    assert info == make_info()
    assert info.feature_shape == (POSITIONS, CHANNELS)


def test_a_folder_is_finished_only_with_the_file_completed(tmp_path) -> None:
    write_info(tmp_path)
    (tmp_path / records.COMPLETED).unlink()
    line = refusal(records.read_info, str(tmp_path))
    assert line.startswith(f"{tmp_path} holds no finished records: run `imcap records`")
    assert refusal(records.read_info, str(tmp_path / "none")).startswith(f"{tmp_path / 'none'} ")


def test_another_schema_is_refused_by_its_number(tmp_path) -> None:
    path = write_info(tmp_path, schema_version=99)
    assert refusal(records.read_info, str(tmp_path)) == (
        f"{path} has schema 99; this imcap reads {records.SCHEMA_VERSION}"
    )


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe\x00",
        b'{"schema_version": 1}',
        b'{"schema_version": 1, "feature_shape": 3, "feature_grid": []}',
    ],
)
def test_a_corrupted_info_is_refused_by_path(tmp_path, content: bytes) -> None:
    path = write_info(tmp_path)
    path.write_bytes(content)
    assert refusal(records.read_info, str(tmp_path)).startswith(f"{path} is corrupted (")
    path.unlink()
    assert refusal(records.read_info, str(tmp_path)).startswith(f"{path} is corrupted (")


def test_an_info_with_unknown_fields_is_refused(tmp_path) -> None:
    path = write_info(tmp_path, surprise=1)
    line = refusal(records.read_info, str(tmp_path))
    assert line.startswith(f"{path} is corrupted (")
    assert "surprise" in line


def test_a_missing_split_is_refused_with_those_there() -> None:
    info = make_info(splits={"train": {"shard_lengths": [2, 0, 3]}, "dev": {"shard_lengths": [1]}})
    assert info.num_images("train") == 5
    line = refusal(info.num_images, "test")
    assert line == "the records hold no split 'test', only dev, train"


@pytest.mark.parametrize("content", [b"", b"dog\ncat\n", b"\xff\xfe\x00", b"[START]\n[END]\n\xff"])
def test_a_corrupted_vocabulary_is_refused_by_path(tmp_path, content: bytes) -> None:
    path = tmp_path / records.VOCABULARY
    path.write_bytes(content)
    assert refusal(records.read_vocabulary, str(tmp_path)).startswith(f"{path} ")
    path.unlink()
    assert refusal(records.read_vocabulary, str(tmp_path)).startswith(f"{path} cannot be read: ")


@pytest.fixture
def encoder() -> config_lib.ConfigDict:
    return config_lib.encoder_defaults()


def info_of(encoder: config_lib.ConfigDict, weights_digest: str = "abc") -> records.Info:
    empty = {field.name: {} for field in dataclasses.fields(records.Info)}
    return records.Info(**empty | records.encoder_settings(encoder, weights_digest))


@pytest.mark.parametrize(
    ("key", "other"),
    [
        ("name", "VGG16"),
        ("layer", "conv4_block6_out"),
        ("pooling", "avg"),
        ("compute_dtype", "bfloat16"),
        ("image_size", 299),
        ("max_pixels", 1000),
    ],
)
def test_another_encoder_setting_is_refused_by_name(encoder, key, other) -> None:
    info, made = info_of(encoder), encoder[key]
    encoder[key] = other
    line = refusal(info.check_encoder, "runs/a/records", encoder)
    assert line.startswith(
        f"config.encoder has {key}={other!r}, but runs/a/records was encoded with {made!r}: "
    )


def test_other_weights_are_refused(encoder) -> None:
    info = info_of(encoder)
    line = refusal(info.check_encoder, "r", encoder, "xyz")
    assert line.startswith("config.encoder has weights with digest 'xyz', but r was encoded")


def test_the_same_encoder_is_accepted_with_and_without_its_weights(encoder) -> None:
    info = info_of(encoder)
    info.check_encoder("r", encoder)
    info.check_encoder("r", encoder, "abc")


def test_auto_accepts_the_dtype_that_was_chosen(encoder) -> None:
    encoder.compute_dtype = "bfloat16"
    info = info_of(encoder)
    encoder.compute_dtype = "auto"
    info.check_encoder("r", encoder)


def test_a_network_file_may_have_moved_but_not_changed(encoder) -> None:
    encoder.name = "/old/place/network.keras"
    info = info_of(encoder)
    encoder.name = "network.keras"
    info.check_encoder("r", encoder, "abc")
    with pytest.raises(UserError, match="weights with digest"):
        info.check_encoder("r", encoder, "xyz")
    encoder.name = "other.keras"
    with pytest.raises(UserError, match="name='other"):
        info.check_encoder("r", encoder)
