"""What describes a finished records folder."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path

import landscapes
import pytest
import tensorflow as tf

from beam_jobs import build_records
from imcap import encoders, hashing, records

ALL_SHARDS = {f"{split}-0000{i}-of-00002.tfrecord" for split in landscapes.SPLITS for i in (0, 1)}


@pytest.fixture(scope="module")
def info(built):
    return json.loads(Path(built.records.dir, "info.json").read_text())


def test_a_finished_folder_holds_shards_and_their_description(built):
    names = {path.name for path in Path(built.records.dir).iterdir() if path.is_file()}
    described = {"info.json", "vocab.txt", "failures.jsonl", "features.json", "dataset_info.json"}
    assert names == ALL_SHARDS | described | {"COMPLETED"}
    assert Path(built.records.dir, "failures.jsonl").read_text() == ""


def test_info_has_the_length_size_and_digest_of_each_shard(built, info):
    assert {split: sum(s["shard_lengths"]) for split, s in info["splits"].items()} == (
        landscapes.SPLITS
    )
    for split, entry in info["splits"].items():
        for shard in range(2):
            path = Path(built.records.dir, records.shard_name(split, shard, 2))
            digest = records.Digest()
            serialized = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
            for record in serialized:
                digest.update(record)
            assert entry["shard_lengths"][shard] == len(serialized)
            assert entry["shard_bytes"][shard] == path.stat().st_size
            assert entry["shard_digests"][shard] == digest.hexdigest()


def test_info_has_the_settings_of_the_records(built, info):
    encoder = encoders.build(built.encoder)
    lines = Path(built.records.dir, "vocab.txt").read_text().splitlines()
    assert info["schema_version"] == records.SCHEMA_VERSION
    assert info["feature_shape"] == list(encoder.feature_shape) == [4, 32]
    assert info["feature_grid"] == [2, 2]
    assert info["feature_dtype"] == "float16"
    assert info["encoder"]["name"] == "custom_cnn"
    assert info["encoder"]["weights_digest"] == encoder.digest()
    assert info["preprocessing"]["image_size"] == 32
    assert info["text"] == {"max_length": 22, "vocabulary_size": len(lines) + 2}
    assert info["vocabulary_digest"] == hashing.digest_of(lines)
    counts = {"kept": 24, "failed": 0, "duplicate": 0, "captions": 48}
    assert info["counts"].items() >= counts.items()
    assert info["problems"] == {}
    for name in ("apache-beam", "keras", "numpy", "tensorflow", "tensorflow-text"):
        assert info["versions"][name] == importlib.metadata.version(name)


def test_problems_of_all_parts_are_summed_up_in_info(tmp_path):
    data = landscapes.write_images(tmp_path / "data")
    with open(data / "captions.csv", "a") as file:
        file.write('"gone.jpg","train","A ghost"\n"gone.jpg","dev","A ghost"\nx\n')
    config = landscapes.make_records_config(tmp_path, data)
    build_records.build_records(config)
    problems = records.read_info(config.records.dir).problems
    path = data / "captions.csv"
    assert problems == {
        "malformed rows": {"count": 1, "first": f"{path}, line 52"},
        "missing images": {
            "count": 1,
            "first": f"gone.jpg (tried {data}/gone.jpg), {path}, line 50",
        },
    }
