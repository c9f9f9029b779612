"""The schema of a record: what is written is read, and the bytes that never change."""

from __future__ import annotations

import os

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from record_infos import CHANNELS, POSITIONS, make_info

from imcap import records, text

CAPTIONS = ("A dog runs .", "Zwei Hunde – naß", "")
TOKENS = tuple(np.array(ids, np.int32) for ids in ([2, 4, 5, 6, 3], [2, 1, 1, 1, 3], [2, 3]))
DTYPES = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16, "float32": np.float32}


def make_features(dtype: str = "float32", seed: int = 0) -> np.ndarray:
    features = np.random.default_rng(seed).normal(0, 100, (POSITIONS, CHANNELS))
    return features.astype(records.DTYPES[dtype])


def make_record(dtype: str = "float32", views: int = 1, image_id: str = "1.jpg") -> bytes:
    features = [make_features(dtype, view) for view in range(views)]
    return records.serialize(image_id, f"Images/{image_id}", features, CAPTIONS, TOKENS)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_record_is_read_as_it_was_written(dtype: str) -> None:
    serialized = tf.constant([make_record(dtype), make_record(dtype, image_id="ü 2.jpg")])
    parsed = records.parse(serialized, make_info(dtype))
    assert parsed["image_id"].numpy().tolist() == [b"1.jpg", "ü 2.jpg".encode()]
    assert parsed["path"].numpy().tolist() == [b"Images/1.jpg", "Images/ü 2.jpg".encode()]
    assert parsed["captions"].to_list() == [[c.encode() for c in CAPTIONS]] * 2
    assert parsed["tokens"].dtype == tf.int32
    assert parsed["tokens"].to_list() == [[ids.tolist() for ids in TOKENS]] * 2
    assert parsed["features"].dtype == tf.as_dtype(dtype)
    features = parsed["features"].numpy()
    np.testing.assert_array_equal(features, np.stack([make_features(dtype)] * 2))


@pytest.mark.parametrize("dtype", DTYPES)
def test_features_are_raw_little_endian_bytes_that_numpy_reads(dtype: str) -> None:
    example = tf.train.Example.FromString(make_record(dtype))
    [raw] = example.features.feature["features"].bytes_list.value
    little_endian = np.dtype(DTYPES[dtype]).newbyteorder("<")
    features = np.frombuffer(raw, little_endian).reshape(make_info(dtype).feature_shape)
    np.testing.assert_array_equal(features, make_features(dtype))
    if dtype == "float32":
        assert raw[:4] == int(make_features().view(np.uint32)[0, 0]).to_bytes(4, "little")


def test_each_view_is_read_by_its_name() -> None:
    serialized = tf.constant([make_record(views=2)])
    for number, view in enumerate((records.FEATURES, records.FLIPPED)):
        parsed = records.parse(serialized, make_info(), view)
        assert set(parsed) == {"image_id", "path", "features", "captions", "tokens"}
        np.testing.assert_array_equal(parsed["features"][0], make_features(seed=number))


def test_each_view_has_levels_and_a_scale_of_its_own() -> None:
    views = [make_features(seed=0), 1e-3 * make_features(seed=1)]
    record = records.serialize("1", "1", views, CAPTIONS, TOKENS, dtype="uint8")
    for key, view in zip((records.FEATURES, records.FLIPPED), views, strict=True):
        parsed = records.parse(tf.constant([record, record]), make_info("uint8"), key)
        assert set(parsed) == {"image_id", "path", "features", "captions", "tokens"}
        expected = records.rounded(tf.constant([view, view]), "uint8")
        np.testing.assert_array_equal(parsed["features"], expected)
        assert np.abs(parsed["features"][0] - view).max() < np.ptp(view) / 75


def test_a_record_of_one_view_has_no_second() -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="features_flip"):
        records.parse(tf.constant([make_record(views=1)]), make_info(), records.FLIPPED)


def test_the_longest_caption_is_read_alone() -> None:
    short = records.serialize("2", "2", [make_features()], CAPTIONS[:1], [TOKENS[2]])
    assert records.parse_longest(tf.constant([make_record(), short])).numpy().tolist() == [5, 2]


def test_a_record_without_captions_can_be_read() -> None:
    serialized = tf.constant([records.serialize("1", "1", [make_features()], [], [])])
    parsed = records.parse(serialized, make_info())
    assert parsed["captions"].to_list() == [[]]
    assert parsed["tokens"].to_list() == [[]]


def test_strings_that_are_no_unicode_are_kept_as_far_as_they_can() -> None:
    path = os.fsdecode(b"Images/\xff.jpg")
    record = records.serialize("1", path, [make_features()], ["a \udcff dog"], [TOKENS[2]])
    parsed = records.parse(tf.constant([record]), make_info())
    assert parsed["path"].numpy().tolist() == [b"Images/\xff.jpg"]
    assert parsed["captions"].to_list() == [[b"a  dog"]]


def test_the_same_record_is_the_same_bytes() -> None:
    record = make_record(views=2)
    assert all(make_record(views=2) == record for _ in range(5))
    feature = tf.train.Example.FromString(record).features.feature
    reordered = tf.train.Example()
    for key in sorted(feature, reverse=True):
        reordered.features.feature[key].CopyFrom(feature[key])
    assert reordered.SerializeToString(deterministic=True) == record


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


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("others", [False, True])
@pytest.mark.parametrize("crops", [0, 2])
def test_views_are_the_image_its_flip_and_its_crops_in_this_order(train, others, crops) -> None:
    both, views = (records.FEATURES, records.FLIPPED), records.Views(train, others, crops)
    cut = ("features_crop1", "features_crop2") if crops else ()
    assert views.keys("train") == (both if train else both[:1]) + cut
    assert views.keys("dev") == (both if others else both[:1])


def test_crops_are_read_by_their_names_and_leave_all_else_as_it_is() -> None:
    views, keys = [make_features(seed=seed) for seed in range(3)], records.Views(crops=2).keys
    for dtype in ("float16", "uint8"):
        info = make_info(dtype)
        record, plain = (
            records.serialize(
                "1", "1", views[:n], CAPTIONS, TOKENS, keys=keys("train"), dtype=dtype
            )
            for n in (3, 1)
        )
        for key, view in zip(keys("train"), views, strict=True):
            found = records.parse(tf.constant([record]), info, key)["features"]
            expected = records.rounded(tf.constant([view]), dtype)
            np.testing.assert_array_equal(found, expected)
        assert plain == records.serialize("1", "1", views[:1], CAPTIONS, TOKENS, dtype=dtype)


def test_retokenizing_changes_only_the_tokens() -> None:
    serialized = [make_record(image_id=image_id) for image_id in ("1.jpg", "2.jpg")]
    tokenizer = text.Tokenizer(["[START]", "[END]", "dog"], max_length=3)
    dataset = tf.data.Dataset.from_tensor_slices(serialized)
    new = records.retokenize(dataset, tokenizer.encode)
    for old_record, new_record in zip(serialized, new, strict=True):
        before, after = map(tf.train.Example.FromString, (old_record, new_record))
        feature = after.features.feature
        assert list(feature["caption_lengths"].int64_list.value) == [5, 5, 2]
        tokens = list(feature["caption_tokens"].int64_list.value)
        assert tokens == [2, 1, 4, 1, 3, 2, 1, 1, 1, 3, 2, 3]  # START, unknown, dog, unknown, END
        for key in ("caption_tokens", "caption_lengths"):
            feature[key].CopyFrom(before.features.feature[key])
        assert after.SerializeToString(deterministic=True) == old_record
