"""The description of records for TensorFlow Datasets (tests/test_docs_records.py opens some)."""

from __future__ import annotations

import dataclasses
import json

import pytest
from record_infos import make_info

from imcap import records


def split(views: tuple[str, ...]) -> dict:
    return {"shard_lengths": [2, 0, 1], "shard_bytes": [200, 0, 100], "views": list(views)}


def make(dtype: str, *, flip_eval: bool = False) -> records.Info:
    both = (records.FEATURES, records.FLIPPED)
    others = split(both if flip_eval else both[:1])
    splits = {"train": split((*both, "features_crop1")), "dev": others}
    return dataclasses.replace(make_info(dtype, splits), dataset={"name": "flickr8k"})


def features(info: records.Info) -> dict:
    files = records.format_tfds_files(info)
    return json.loads(files[records.FEATURES_JSON])["content"]["features"]


def test_splits_have_the_names_and_the_lengths_of_their_shards():
    found = json.loads(records.format_tfds_files(make("float16"))[records.DATASET_INFO])
    assert found["name"] == "flickr8k"
    assert [entry["name"] for entry in found["splits"]] == ["dev", "train"]
    for entry in found["splits"]:
        assert entry["shardLengths"] == ["2", "0", "1"] and entry["numBytes"] == "300"
        assert entry["filepathTemplate"] == "{SPLIT}-{SHARD_X_OF_Y}.{FILEFORMAT}"


@pytest.mark.parametrize("dtype, encoding", [("float16", "bytes"), ("uint8", "zlib")])
def test_features_are_a_tensor_of_the_records_dtype_and_shape(dtype, encoding):
    tensor = features(make(dtype))["features"]["tensor"]
    shape = {"dimensions": ["6", "4"]}
    assert tensor == {"shape": shape, "dtype": dtype, "encoding": encoding}


def test_a_view_is_told_where_every_split_has_it():
    others = {"image_id", "path", "captions", "caption_tokens", "caption_lengths"}
    assert features(make("float16")).keys() - others == {"features"}
    assert features(make("float16", flip_eval=True)).keys() - others == {
        "features",
        "features_flip",
    }
    assert features(make("uint8", flip_eval=True)).keys() - others == {
        "features",
        "features_scale",
        "features_flip",
        "features_flip_scale",
    }


def test_compressed_shards_are_not_described():
    compressed = dataclasses.replace(make("float16"), compression="GZIP")
    assert records.format_tfds_files(compressed) == {}
