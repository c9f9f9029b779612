"""Shards that cannot be read to their end."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow as tf
from ml_collections import ConfigDict
from refusals import refusal
from tiny_runs import tiny_config

from imcap import decoders, evaluate, input_pipeline, records, text, train
from imcap.decoding.predictions import Predictor
from imcap.errors import UserError
from imcap.records import corruption


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(bytes(content))


def cut_off(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 10)


def write_garbage(path: Path) -> None:
    """A whole TFRecord file whose record is no Example, nor text."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(b"\x91garbage")


def drop_last_record(path: Path) -> None:
    """Cuts a file off between two records, where TFRecord readers see nothing wrong."""
    kept = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())[:-1]
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in kept:
            writer.write(record)


CORRUPTIONS = (flip_a_byte, cut_off, drop_last_record, write_garbage, Path.unlink)


@pytest.fixture
def corrupted(tiny_run: ConfigDict, tmp_path: Path) -> Callable[[str, Callable], tuple]:
    """Returns a function that copies the tiny run's records and corrupts a split's last shard; it
    gives the config, the info and how the refusal begins."""

    def corrupt_last(
        split: str, corrupt: Callable[[Path], object]
    ) -> tuple[ConfigDict, records.Info, str]:
        config = tiny_config(tmp_path)
        shutil.copytree(tiny_run.records.dir, config.records.dir)
        info = records.read_info(config.records.dir)
        path = records.shards(config.records.dir, info, split)[-1][0]
        corrupt(Path(path))
        return config, info, f"{path} is corrupted ("

    return corrupt_last


@pytest.mark.parametrize("corrupt", CORRUPTIONS)
def test_a_corrupted_shard_is_found_by_name(corrupted, corrupt) -> None:
    config, info, beginning = corrupted("dev", corrupt)
    error = tf.errors.DataLossError(None, None, "corrupted record")
    line = refusal(corruption.raise_corrupted, config.records.dir, info, "dev", error)
    assert line.startswith(beginning)
    assert "delete it and run `imcap records`, which builds that shard again" in line


def test_an_error_for_another_reason_stays_itself(tiny_run) -> None:
    error = tf.errors.InvalidArgumentError(None, None, "something else")
    info = records.read_info(tiny_run.records.dir)
    with pytest.raises(tf.errors.InvalidArgumentError, match="something else"):
        corruption.raise_corrupted(tiny_run.records.dir, info, "dev", error)


@pytest.mark.parametrize("corrupt", CORRUPTIONS)
def test_evaluating_names_the_corrupted_shard(corrupted, corrupt) -> None:
    config, info, beginning = corrupted("dev", corrupt)
    tokenizer = text.Tokenizer(records.read_vocabulary(config.records.dir), 22)
    decoder = decoders.build(config.model, tokenizer.size, info.feature_shape[1])
    predictor = Predictor(decoder, tokenizer, config.decode, config.records.dir, info)
    line = refusal(predictor.predict_split, "dev")
    assert line.startswith(beginning)


@pytest.mark.parametrize("corrupt", CORRUPTIONS)
def test_training_names_the_corrupted_shard(corrupted, corrupt) -> None:
    config, _, beginning = corrupted("train", corrupt)
    workdir = os.path.dirname(config.records.dir)
    assert refusal(train.train_and_evaluate, config, workdir, "none").startswith(beginning)


@pytest.mark.parametrize("corrupt", CORRUPTIONS)
def test_lost_images_are_skipped_and_counted(corrupted, logged, corrupt) -> None:
    config, info, _ = corrupted("train", corrupt)
    left = corruption.skip_corrupted(config.records.dir, info, "train")
    lost = info.num_images("train") - left.num_images("train")
    path, length = records.shards(config.records.dir, info, "train")[-1]
    assert 0 < lost <= length
    (message,) = logged()
    assert message.startswith(f"{path}: {lost} of {length} images skipped (")
    steps = input_pipeline.steps_per_epoch(left, 1)
    batches = input_pipeline.train_dataset(
        config.records.dir, left, batch_size=1, shuffle_buffer=8, seed=0, step=0
    )
    ids = [batch["image_id"].numpy()[0] for batch in batches.take(steps)]
    assert len(set(ids)) == steps == left.num_images("train")


def test_whole_shards_stay_as_they_are(tiny_run, logged) -> None:
    info = records.read_info(tiny_run.records.dir)
    assert corruption.skip_corrupted(tiny_run.records.dir, info, "train") == info
    assert logged() == []


def test_a_split_without_a_readable_record_is_refused(tiny_run, tmp_path) -> None:
    folder = str(tmp_path / "records")
    shutil.copytree(tiny_run.records.dir, folder)
    info = records.read_info(folder)
    for path, _ in records.shards(folder, info, "dev"):
        os.truncate(path, 3)
    with pytest.raises(UserError, match=f"{folder}: nothing of the split dev can be read"):
        corruption.skip_corrupted(folder, info, "dev")


def test_training_and_evaluation_skip_corrupted_records(corrupted, logged) -> None:
    config, info, _ = corrupted("dev", flip_a_byte)
    config.records.skip_corrupted = True
    workdir = os.path.dirname(config.records.dir)
    history = train.train_and_evaluate(config, workdir, "none").history
    assert history.rows
    scores = evaluate.evaluate_split(config, workdir, "dev")
    assert 0 < scores.num_images < info.num_images("dev")
    assert sum("images skipped (" in message for message in logged()) == 2
