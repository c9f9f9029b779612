"""The reward of samples: pycocoevalcap's CIDEr-D with END as a word."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from pycocoevalcap.cider.cider import Cider

from imcap import input_pipeline, records
from imcap.errors import UserError
from imcap.metrics import token_bleu
from imcap.text import END
from imcap.training import rewards


@pytest.fixture(scope="module")
def info(landscape_data):
    return records.read_info(str(landscape_data / "records"))


@pytest.fixture(scope="module")
def references(landscape_data, info) -> np.ndarray:
    """The training captions without START, int32 [images, captions, length]."""
    batches = list(input_pipeline.read_tokens(str(landscape_data / "records"), info, "train"))
    assert len(batches) == 1
    return batches[0][..., 1:]


def make_samples(references: np.ndarray) -> np.ndarray:
    """Captions near the references: of this and other images, cut, extended and without END."""
    first, other = references[:, 0], np.roll(references[:, 1], 1, axis=0)
    cut = np.where(np.arange(first.shape[1]) < 4, first, 0)
    repeated = np.concatenate([first[:, :3], first[:, :3], first[:, :-6]], axis=1)
    no_end = np.where(first == END, 0, first)
    return np.stack([first, other, cut, repeated, no_end], axis=1)


def words(row: np.ndarray) -> str:
    return " ".join(f"w{token}" for token in row[row > 0])


def expected_cider_d(references: np.ndarray, samples: np.ndarray) -> np.ndarray:
    captions = {i: [words(row) for row in rows if row.any()] for i, rows in enumerate(references)}
    columns = [
        Cider().compute_score(captions, {i: [words(row)] for i, row in enumerate(column)})[1]
        for column in np.moveaxis(samples, 1, 0)
    ]
    return np.stack(columns, axis=1)


def test_rewards_are_pycocoevalcap_s_with_the_training_captions_frequencies(
    landscape_data, info, references
):
    samples = make_samples(references)
    reward = rewards.build(str(landscape_data / "records"), info)
    found = reward(tf.constant(samples), tf.constant(references)).numpy()
    assert found.shape == samples.shape[:2] and found.dtype == np.float32
    expected = expected_cider_d(references, samples)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.ptp(expected) > 1
    # Frequencies are those of all training captions, whatever the batch is.
    part = reward(tf.constant(samples[7:11]), tf.constant(references[7:11])).numpy()
    np.testing.assert_allclose(part, expected[7:11], atol=1e-4)


def test_a_caption_without_its_end_has_a_lower_reward(landscape_data, info, references):
    samples = make_samples(references)
    reward = rewards.build(str(landscape_data / "records"), info)
    whole, *_, no_end = reward(tf.constant(samples), tf.constant(references)).numpy().T
    assert (no_end < whole - 0.1).all()


def test_bleu4_is_added_with_its_weight(landscape_data, info, references):
    samples, folder = tf.constant(make_samples(references)), str(landscape_data / "records")
    plain = rewards.build(folder, info)(samples, references)
    found = rewards.build(folder, info, 0.5)(samples, references)
    bleu = token_bleu.sentence_bleu4(samples, tf.constant(references))
    np.testing.assert_allclose(found - plain, 0.5 * bleu, atol=1e-5)


def test_images_may_have_different_numbers_of_captions(landscape_data, info, references):
    counts = (references != 0).any(-1).sum(-1)
    assert set(counts) == {2, 3}
    reward = rewards.build(str(landscape_data / "records"), info)
    samples = make_samples(references)
    image = int(np.argmin(counts))
    alone = reward(samples[image : image + 1], references[image : image + 1, :2])
    together = reward(tf.constant(samples), tf.constant(references))
    np.testing.assert_allclose(alone[0], together[image], atol=1e-5)


def test_a_corrupted_shard_is_named(tmp_path, landscape_data, info):
    import shutil

    folder = tmp_path / "records"
    shutil.copytree(landscape_data / "records", folder)
    shard = next(folder.glob("train-00001-*"))
    shard.write_bytes(shard.read_bytes()[:-40])
    with pytest.raises(UserError, match=shard.name):
        rewards.build(str(folder), info)
