"""Views of training images: one is drawn at random; evaluation sees the image alone."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from landscapes import VIEW_KEYS
from record_infos import CHANNELS, POSITIONS, make_info

from imcap import input_pipeline, records

IMAGES = 36
SPLIT = {"shard_lengths": [IMAGES // 2] * 2, "views": VIEW_KEYS}


def views(number: int) -> np.ndarray:
    """The features of all views of an image."""
    shape = len(VIEW_KEYS), POSITIONS, CHANNELS
    return np.random.default_rng(number).normal(0, 1, shape).astype(np.float16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Records of training images with a flipped view and two crops."""
    folder = tmp_path_factory.mktemp("views")
    for shard, first in enumerate((0, IMAGES // 2)):
        path = folder / records.shard_name("train", shard, 2)
        with tf.io.TFRecordWriter(str(path)) as writer:
            for number in range(first, first + IMAGES // 2):
                name, ids = str(number), [np.array([2, 4, 3])]
                writer.write(
                    records.serialize(name, name, views(number), ["A"], ids, keys=VIEW_KEYS)
                )
    return str(folder)


def make_views_info(count: int) -> records.Info:
    """What describes the records, as if they had only the first so many views."""
    return make_info("float16", {"train": {**SPLIT, "views": VIEW_KEYS[:count]}})


def train_batches(folder: str, views: int, count: int, step: int = 0) -> list[dict]:
    dataset = input_pipeline.train_dataset(
        folder, make_views_info(views), batch_size=6, shuffle_buffer=50, seed=0, step=step
    )
    return list(dataset.take(count).as_numpy_iterator())


def views_of(batch: dict[str, np.ndarray]) -> list[int]:
    """Which view of its image each row of a batch is."""
    found = []
    for image_id, features in zip(batch["image_id"], batch["features"], strict=True):
        (view,) = np.flatnonzero((views(int(image_id)) == features).all(axis=(1, 2)))
        found.append(int(view))
    return found


@pytest.mark.parametrize("count", [1, 2, 4])
def test_each_view_is_as_likely(folder, count) -> None:
    chosen = np.array([views_of(batch) for batch in train_batches(folder, count, 120)])
    counts = np.bincount(chosen.ravel(), minlength=count)
    assert len(counts) == count
    assert np.all(np.abs(counts - chosen.size / count) <= 60), counts


def test_an_image_has_other_views_in_other_epochs(folder) -> None:
    epochs = np.reshape(train_batches(folder, 4, 12), (2, 6))
    first, second = (
        {
            image: view
            for batch in epoch
            for image, view in zip(batch["image_id"], views_of(batch), strict=True)
        }
        for epoch in epochs
    )
    assert first.keys() == second.keys() and len(first) == IMAGES
    assert 18 <= sum(first[image] != second[image] for image in first) < IMAGES
    assert len(set(first.values())) == 4  # Not one view an epoch.


def test_the_choice_of_views_is_the_same_from_any_step(folder) -> None:
    whole, rest = train_batches(folder, 4, 24), train_batches(folder, 4, 14, step=10)
    for batch, other in zip(rest, whole[10:], strict=True):
        for key in batch:
            np.testing.assert_array_equal(batch[key], other[key])


def test_evaluation_sees_the_image_itself_alone(folder) -> None:
    dataset = input_pipeline.eval_dataset(folder, make_views_info(4), "train", batch_size=7)
    chosen = [views_of(batch) for batch in dataset.as_numpy_iterator()]
    assert [view for batch in chosen for view in batch] == [0] * IMAGES
