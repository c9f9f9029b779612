"""What TensorBoard shows of a run."""

from __future__ import annotations

import glob

import numpy as np
import outputs
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing import event_accumulator


@pytest.fixture(scope="module")
def values(landscape_run) -> dict[str, dict[int, np.ndarray]]:
    """The values of every tag by step."""
    (path,) = glob.glob(str(landscape_run / "logs" / "events.out.tfevents.*"))
    events = event_accumulator.EventAccumulator(path, {"tensors": 0}).Reload()
    return {
        tag: {event.step: tf.make_ndarray(event.tensor_proto) for event in events.Tensors(tag)}
        for tag in events.Tags()["tensors"]
    }


def test_tensorboard_gets_the_dev_scores_and_sample_captions(landscape_run, values):
    rows = outputs.history(landscape_run)
    for tag, column in (("dev/cider", "dev_cider"), ("dev/bleu4", "dev_bleu4"), ("loss", "loss")):
        assert list(values[tag]) == [int(row["step"]) for row in rows]
        expected = [float(row[column]) for row in rows]
        np.testing.assert_allclose(list(values[tag].values()), expected, rtol=1e-5, atol=1e-9)
    samples = values["dev/captions"][60].item().decode()
    assert len(samples.split("\n\n")) == 4
    assert ".jpg: " in samples


def test_tensorboard_gets_what_every_twenty_steps_have_summed_up(landscape_run, values):
    """An epoch has five steps."""
    names = ("loss", "gradient_norm", "learning_rate", "captions_per_second", "waiting_share")
    shown = {name: values[f"train/{name}"] for name in names}
    assert all(list(found) == [20, 40, 60] for found in shown.values())
    rows = outputs.history(landscape_run)
    for step in (20, 40, 60):
        (row,) = (row for row in rows if int(row["step"]) == step)
        for name in ("loss", "gradient_norm", "learning_rate"):
            assert float(shown[name][step]) == pytest.approx(float(row[name]), rel=1e-3)
        assert 0 <= float(shown["waiting_share"][step]) <= 1
        assert float(shown["captions_per_second"][step]) > 0
    norms = [float(row["gradient_norm"]) for row in rows]
    assert min(norms) > 0 and len(set(norms)) == len(norms)


def test_tensorboard_gets_the_same_dev_images_with_attention_maps(values):
    tags = [tag for tag in values if tag.startswith("dev/image_")]
    assert sorted(tags) == [f"dev/image_{number}" for number in range(4)]
    for tag in tags:
        assert list(values[tag]) == list(range(5, 65, 5))
        last = values[tag][60]  # Width, height, and the images as PNG.
        pixels = tf.io.decode_png(last[2]).numpy()
        assert pixels.shape == (int(last[1]), int(last[0]), 3)
        # The image, and a map for each of the caption's words.
        assert pixels.shape[1] > pixels.shape[0] > 120
