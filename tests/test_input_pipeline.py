"""Batches: the same for the same seed from any step on, each image once, similar lengths."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from ml_collections import ConfigDict

from imcap import datasets, input_pipeline, records, text
from imcap.errors import UserError

BATCH = 20  # Four batches of the tiny run's 96 training images, and 16 images left over.


def train_batches(config: ConfigDict, count: int, **changes: object) -> list[dict[str, np.ndarray]]:
    settings = {"batch_size": BATCH, "shuffle_buffer": 50, "seed": 0, "step": 0, **changes}
    info = records.read_info(config.records.dir)
    dataset = input_pipeline.train_dataset(config.records.dir, info, **settings)
    return list(dataset.take(count).as_numpy_iterator())


def ids(batches: list[dict[str, np.ndarray]]) -> list[list[bytes]]:
    return [batch["image_id"].tolist() for batch in batches]


def assert_same(batches: list[dict[str, np.ndarray]], others: list[dict[str, np.ndarray]]) -> None:
    assert ids(batches) == ids(others)
    for batch, other in zip(batches, others, strict=True):
        for key in batch:
            np.testing.assert_array_equal(batch[key], other[key])


def serialized(config: ConfigDict, split: str) -> list[bytes]:
    """A split's records in their order."""
    info = records.read_info(config.records.dir)
    paths = [path for path, _ in records.shards(config.records.dir, info, split)]
    return list(tf.data.TFRecordDataset(paths).as_numpy_iterator())


def rows(config: ConfigDict, split: str) -> dict[bytes, datasets.CaptionedImage]:
    """What the data set's reader says, by image id."""
    read = datasets.build_reader(config.dataset).read(datasets.Problems())
    return {row.image_id.encode(): row for row in read if row.split == split}


@pytest.fixture(scope="module")
def stream(tiny_run: ConfigDict) -> list[dict[str, np.ndarray]]:
    """Three epochs from step 0."""
    return train_batches(tiny_run, 12)


def test_the_same_seed_gives_the_same_batches(tiny_run, stream) -> None:
    assert_same(train_batches(tiny_run, 12), stream)


def test_the_seed_of_the_process_does_not_matter(tiny_run, stream) -> None:
    keras.utils.set_random_seed(123)
    assert_same(train_batches(tiny_run, 5), stream[:5])


@pytest.mark.parametrize("readers", [1, 8])
def test_the_number_of_readers_does_not_matter(tiny_run, stream, readers: int) -> None:
    assert_same(train_batches(tiny_run, 5, readers=readers), stream[:5])


def test_another_seed_gives_another_order(tiny_run, stream) -> None:
    other = train_batches(tiny_run, 4, seed=1)
    assert ids(other) != ids(stream[:4])
    # Not even the sets of images that make up a batch.
    assert {frozenset(batch) for batch in ids(other)}.isdisjoint(map(frozenset, ids(stream)))


def test_every_epoch_has_another_order(stream) -> None:
    first, second, third = ids(stream[:4]), ids(stream[4:8]), ids(stream[8:])
    assert first != second != third != first


@pytest.mark.parametrize("step", [1, 3, 4, 6, 8])
def test_starting_at_a_step_gives_the_batches_after_it(tiny_run, stream, step: int) -> None:
    assert_same(train_batches(tiny_run, 12 - step, step=step), stream[step:])


def test_an_epoch_has_each_image_at_most_once_and_drops_only_the_remainder(
    tiny_run, stream
) -> None:
    info = records.read_info(tiny_run.records.dir)
    assert info.num_images("train") == 96
    assert input_pipeline.steps_per_epoch(info, BATCH) == 4
    for start in (0, 4, 8):
        seen = Counter(itertools.chain(*ids(stream[start : start + 4])))
        assert len(seen) == 80
        assert max(seen.values()) == 1
    dropped = [set(rows(tiny_run, "train")) - set(itertools.chain(*ids(stream[i : i + 4])))
                for i in (0, 4, 8)]  # fmt: skip
    assert dropped[0] != dropped[1]


def test_without_a_remainder_an_epoch_is_the_whole_split(tiny_run) -> None:
    batches = train_batches(tiny_run, 6, batch_size=16)
    assert sorted(itertools.chain(*ids(batches))) == sorted(rows(tiny_run, "train"))


def test_a_batch_larger_than_the_split_is_the_split(tiny_run) -> None:
    batches = train_batches(tiny_run, 2, batch_size=1000)
    assert [sorted(batch) for batch in ids(batches)] == [sorted(rows(tiny_run, "train"))] * 2
    assert input_pipeline.steps_per_epoch(records.read_info(tiny_run.records.dir), 1000) == 1


def test_a_batch_holds_an_images_own_features_and_captions(tiny_run, stream) -> None:
    info = records.read_info(tiny_run.records.dir)
    tokenizer = text.Tokenizer(
        records.read_vocabulary(tiny_run.records.dir), tiny_run.text.max_length
    )
    parsed = records.parse(tf.constant(serialized(tiny_run, "train")), info)
    features = dict(zip(parsed["image_id"].numpy(), parsed["features"].numpy(), strict=True))
    train = rows(tiny_run, "train")
    for batch in stream[:4]:
        assert set(batch) == {"image_id", "features", "tokens"}
        assert batch["features"].shape == (BATCH, *info.feature_shape)
        assert batch["features"].dtype == np.float16
        assert batch["tokens"].dtype == np.int32
        for index, image_id in enumerate(batch["image_id"]):
            np.testing.assert_array_equal(batch["features"][index], features[image_id])
            expected = tokenizer.encode(train[image_id].captions)
            found = [caption[caption != 0] for caption in batch["tokens"][index]]
            assert [i.tolist() for i in found] == [i.tolist() for i in expected]


def test_captions_are_padded_to_one_more_than_a_multiple_of_four(stream) -> None:
    for batch in stream:
        images, captions, length = batch["tokens"].shape
        assert (images, captions) == (BATCH, 5)
        assert length % 4 == 1
        longest = int(np.max(np.count_nonzero(batch["tokens"], axis=-1)))
        assert longest <= length < longest + 4
        assert np.all(batch["tokens"][:, :, 0] == text.START)


def test_batches_are_of_similar_lengths_in_random_order(tiny_run) -> None:
    batches = train_batches(tiny_run, 12, batch_size=8, shuffle_buffer=96)  # A window each epoch.
    longest = [np.count_nonzero(batch["tokens"], axis=-1).max(axis=1) for batch in batches]
    ranges = [(int(lengths.min()), int(lengths.max())) for lengths in longest]
    assert ranges != sorted(ranges)
    ordered = sorted(ranges)
    assert all(shorter[1] <= longer[0] for shorter, longer in itertools.pairwise(ordered))
    assert ordered[0][1] < ordered[-1][0]


def test_lengths_are_sorted_only_within_a_window(tiny_run) -> None:
    batches = train_batches(tiny_run, 48, batch_size=2, shuffle_buffer=96)  # Three windows.
    longest = [np.count_nonzero(batch["tokens"], axis=-1).max(axis=1) for batch in batches]
    for window in (longest[:16], longest[16:32], longest[32:]):
        ordered = sorted((int(lengths.min()), int(lengths.max())) for lengths in window)
        assert all(shorter[1] <= longer[0] for shorter, longer in itertools.pairwise(ordered))
    assert sorted(itertools.chain(*ids(batches))) == sorted(rows(tiny_run, "train"))


def test_no_training_images_is_an_error(tiny_run) -> None:
    info = records.read_info(tiny_run.records.dir)
    info.splits["train"] = {**info.splits["train"], "shard_lengths": [0, 0]}
    with pytest.raises(UserError, match="the records hold no training image"):
        input_pipeline.steps_per_epoch(info, 8)
    del info.splits["train"]
    with pytest.raises(UserError, match="the records hold no training image"):
        input_pipeline.steps_per_epoch(info, 8)


def test_evaluation_gives_every_image_once_in_the_records_order(tiny_run) -> None:
    info = records.read_info(tiny_run.records.dir)
    dataset = input_pipeline.eval_dataset(tiny_run.records.dir, info, "dev", batch_size=5)
    batches = list(dataset)
    examples = [tf.train.Example.FromString(record) for record in serialized(tiny_run, "dev")]
    order = [e.features.feature["image_id"].bytes_list.value[0] for e in examples]
    found = [image_id for batch in batches for image_id in batch["image_id"].numpy()]
    assert found == order
    assert sorted(found) == sorted(rows(tiny_run, "dev"))
    assert [len(batch["image_id"]) for batch in batches] == [5, 5, 2]


def test_evaluation_brings_raw_captions_and_paths(tiny_run) -> None:
    info = records.read_info(tiny_run.records.dir)
    dev = rows(tiny_run, "dev")
    for batch in input_pipeline.eval_dataset(tiny_run.records.dir, info, "dev", batch_size=5):
        captions = batch["captions"].to_list()
        for index, image_id in enumerate(batch["image_id"].numpy()):
            row = dev[image_id]
            assert captions[index] == [caption.encode() for caption in row.captions]
            path = Path(tiny_run.dataset.dir, batch["path"].numpy()[index].decode())
            assert path == Path(row.path)


def test_evaluation_can_be_limited_to_the_first_images(tiny_run) -> None:
    info = records.read_info(tiny_run.records.dir)

    def found(limit: int) -> list[bytes]:
        dataset = input_pipeline.eval_dataset(
            tiny_run.records.dir, info, "dev", batch_size=5, limit=limit
        )
        return [image_id for batch in dataset for image_id in batch["image_id"].numpy()]

    assert found(7) == found(0)[:7]
    assert found(1000) == found(0)


def test_tokens_alone_are_those_of_the_batches(tiny_run) -> None:
    folder = tiny_run.records.dir
    info = records.read_info(folder)
    found = list(input_pipeline.read_tokens(folder, info, "train"))
    assert [len(tokens) for tokens in found] == [64, 32]
    dataset = input_pipeline.eval_dataset(folder, info, "train", batch_size=64)
    for tokens, batch in zip(found, dataset, strict=True):
        assert tokens.dtype == np.int32
        expected = batch["tokens"].numpy()
        padding = expected.shape[2] - tokens.shape[2]
        np.testing.assert_array_equal(np.pad(tokens, [(0, 0), (0, 0), (0, padding)]), expected)


def test_a_missing_split_is_refused(tiny_run) -> None:
    info = records.read_info(tiny_run.records.dir)
    with pytest.raises(UserError, match="the records hold no split 'holdout'"):
        input_pipeline.eval_dataset(tiny_run.records.dir, info, "holdout", batch_size=5)
