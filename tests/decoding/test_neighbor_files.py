"""The index of a run's training images: what it is made from, and when it is made anew."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from ml_collections import ConfigDict
from refusals import refusal
from tiny_runs import changed_config

from imcap import records, text
from imcap.decoding import neighbor_files
from imcap.decoding.neighbors import NeighborIndex, pool

SHAPE = (4, 3)  # Positions and channels of the features that the tests write.


def decode(**changes: object) -> ConfigDict:
    settings = changed_config("decode.rerank", "consensus").decode
    settings.update({f"rerank_{key}": value for key, value in changes.items()})
    return settings


@pytest.fixture(scope="module")
def folder(landscape_data) -> str:
    return str(landscape_data / "records")


@pytest.fixture(scope="module")
def info(folder) -> records.Info:
    return records.read_info(folder)


@pytest.fixture(scope="module")
def index(folder, info) -> NeighborIndex:
    return neighbor_files.build(folder, info, images=1000, dimensions=256)


def refuse_to_read() -> str:
    raise AssertionError("the records are read")


def assert_same(index: NeighborIndex, other: NeighborIndex) -> None:
    expected = other.arrays()
    assert index.arrays().keys() == expected.keys()
    for name, array in index.arrays().items():
        np.testing.assert_array_equal(array, expected[name])


def stored_examples(folder: str, info: records.Info) -> list[dict[str, object]]:
    """Returns the training split's records, in their order, parsed one by one."""
    paths = [path for path, _ in records.shards(folder, info, "train")]
    dataset = records.dataset(paths, info.compression).batch(1)
    return [records.parse(batch, info) for batch in dataset]


def test_the_index_holds_the_training_images_and_their_captions(index, folder, info):
    examples = stored_examples(folder, info)
    assert len(index.vectors) == len(index.captions) == len(examples) == 45
    assert index.frequencies.num_images == 45
    tokenizer = records.read_tokenizer(folder, info)
    for captions, example in zip(index.captions, examples, strict=True):
        expected = text.standardize_all([c.decode() for c in example["captions"].to_list()[0]])
        found = [caption for caption in tokenizer.decode(captions) if caption]
        assert found == expected and text.END not in captions and text.START not in captions
    pooled = np.concatenate([pool(example["features"]) for example in examples])
    np.testing.assert_allclose(index.mean, pooled.mean(axis=0), atol=1e-5)
    cosines, nearest = index.nearest(np.concatenate([e["features"] for e in examples]), 45)
    itself = cosines[nearest == np.arange(45)[:, np.newaxis]]
    np.testing.assert_allclose(itself, np.ones(45), atol=2e-3)  # float16.


def test_a_second_use_reads_the_file(tmp_path, folder, info, index):
    first = neighbor_files.read_or_build(str(tmp_path), info, decode(), lambda: folder)
    assert os.listdir(tmp_path) == [neighbor_files.FILE]
    again = neighbor_files.read_or_build(str(tmp_path), info, decode(), refuse_to_read)
    assert_same(first, index)
    assert_same(again, index)


def test_the_same_records_give_the_same_bytes(tmp_path, folder, info):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        neighbor_files.read_or_build(str(tmp_path / name), info, decode(), lambda: folder)
    first, second = (tmp_path / name / neighbor_files.FILE for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("damage", [lambda content: b"", lambda content: content[:-50]])
def test_a_corrupted_file_is_made_anew(tmp_path, folder, info, index, damage):
    path = tmp_path / neighbor_files.FILE
    neighbor_files.read_or_build(str(tmp_path), info, decode(), lambda: folder)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    found = neighbor_files.read_or_build(str(tmp_path), info, decode(), lambda: folder)
    assert_same(found, index)
    assert path.read_bytes() == whole


def test_a_file_of_other_settings_or_records_is_made_anew(tmp_path, folder, info):
    neighbor_files.read_or_build(str(tmp_path), info, decode(), lambda: folder)
    few = neighbor_files.read_or_build(str(tmp_path), info, decode(images=7), lambda: folder)
    assert len(few.vectors) == 7
    flat = decode(images=7, dimensions=2)
    found = neighbor_files.read_or_build(str(tmp_path), info, flat, lambda: folder)
    assert found.vectors.shape == (7, 2)
    splits = {**info.splits, "train": {**info.splits["train"], "shard_digests": ["other"]}}
    with pytest.raises(AssertionError, match="the records are read"):
        neighbor_files.read_or_build(
            str(tmp_path), dataclasses.replace(info, splits=splits), flat, refuse_to_read
        )


def test_what_only_reranking_reads_does_not_make_the_file_anew(tmp_path, folder, info):
    neighbor_files.read_or_build(str(tmp_path), info, decode(), lambda: folder)
    other = decode(neighbors=3, sharpness=1.0, mbr_weight=0.0, score_weight=0.0)
    neighbor_files.read_or_build(str(tmp_path), info, other, refuse_to_read)


def test_a_part_of_the_images_is_the_first_of_the_records(folder, info, index):
    few = neighbor_files.build(folder, info, images=7, dimensions=256)
    np.testing.assert_array_equal(few.captions, index.captions[:7])
    assert few.frequencies.num_images == 7


def write_records(folder: Path, captions: list[list[np.ndarray]]) -> None:
    """Writes a shard of images with two views each, of which the second has much larger values."""
    view = np.random.default_rng(0).normal(0, 1, (len(captions), *SHAPE)).astype(np.float16)
    examples = [
        records.serialize(f"{number:03d}", "", (own, own + 100), ["a"] * len(tokens), tokens)
        for number, (own, tokens) in enumerate(zip(view, captions, strict=True))
    ]
    path = folder / records.shard_name("train", 0, 1)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for example in examples:
            writer.write(example)


def test_views_and_captions_beyond_the_first_are_left_out(tmp_path, info):
    views = {"train": {"shard_lengths": [3], "shard_digests": [""], "views": ["features"] * 2}}
    own = dataclasses.replace(info, splits=views, feature_shape=SHAPE)
    wordless, caption = np.array([text.START, text.END]), np.array([text.START, 5, 6, text.END])
    write_records(tmp_path, [[wordless, *[caption] * 6], [wordless], []])
    found = neighbor_files.build(str(tmp_path), own, images=10, dimensions=4)
    assert found.captions.shape == (3, 5, info.text["max_length"])
    assert found.captions[..., 0].tolist() == [[5] * 5, [0] * 5, [0] * 5]
    assert np.abs(found.mean).max() < 5


def test_an_index_that_may_lack_images_is_not_used_where_none_may_be_lost(tmp_path, folder, info):
    build = neighbor_files.read_or_build
    build(str(tmp_path), info, decode(), lambda: folder, skip_corrupted=True)
    build(str(tmp_path), info, decode(), refuse_to_read, skip_corrupted=True)
    with pytest.raises(AssertionError, match="the records are read"):
        build(str(tmp_path), info, decode(), refuse_to_read)


def test_records_without_training_images_are_refused(tmp_path, folder, info):
    none = dataclasses.replace(info, splits={"dev": info.splits["dev"]})
    line = refusal(neighbor_files.read_or_build, str(tmp_path), none, decode(), lambda: folder)
    assert "no split 'train'" in line


def test_a_corrupted_shard_is_named_or_left_out(tmp_path, folder, info):
    copy = tmp_path / "records"
    shutil.copytree(folder, copy)
    path, length = records.shards(str(copy), info, "train")[-1]
    os.truncate(path, os.path.getsize(path) - 10)
    line = refusal(neighbor_files.build, str(copy), info, images=1000, dimensions=256)
    assert line.startswith(f"{path} is corrupted")
    found = neighbor_files.build(str(copy), info, images=1000, dimensions=256, skip_corrupted=True)
    assert 45 - length <= len(found.vectors) < 45
