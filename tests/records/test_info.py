"""info.json's account of the encoder, and the refusal of another one."""

from __future__ import annotations

import dataclasses
import os

import pytest
from refusals import refusal

from imcap import config as config_lib
from imcap import records
from imcap.errors import UserError


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


@pytest.mark.parametrize("folder", ["data", "/data/", "~/data", "gs://bucket/data"])
def test_an_image_path_survives_the_record(folder) -> None:
    path = os.path.join(os.path.expanduser(folder), "sub", "a.jpg")
    assert records.path_in_record(path, folder) == "sub/a.jpg"
    assert records.image_path(b"sub/a.jpg", folder) == path
    assert records.image_path("sub/a.jpg", "elsewhere") == "elsewhere/sub/a.jpg"


def test_an_image_outside_the_folder_keeps_its_path() -> None:
    assert records.path_in_record("/data2/a.jpg", "/data") == "/data2/a.jpg"
    assert records.image_path("/data2/a.jpg", "/data") == "/data2/a.jpg"
    assert records.image_path("gs://bucket/a.jpg", "/data") == "gs://bucket/a.jpg"


def test_only_flipped_training_records_hold_two_views() -> None:
    assert records.view_keys("train", flip=True) == (records.FEATURES, records.FLIPPED)
    assert (
        records.view_keys("train", flip=False)
        == records.view_keys("dev", flip=True)
        == ("features",)
    )
