"""What TensorBoard shows of a run."""

from __future__ import annotations

import glob

import numpy as np
import outputs
import tensorflow as tf
from tensorboard.backend.event_processing import event_accumulator


def test_tensorboard_gets_the_dev_scores_and_sample_captions(landscape_run):
    (path,) = glob.glob(str(landscape_run / "logs" / "events.out.tfevents.*"))
    events = event_accumulator.EventAccumulator(path, {"tensors": 0}).Reload()
    values = {
        tag: {event.step: tf.make_ndarray(event.tensor_proto) for event in events.Tensors(tag)}
        for tag in events.Tags()["tensors"]
    }
    rows = outputs.history(landscape_run)
    for tag, column in (("dev/cider", "dev_cider"), ("dev/bleu4", "dev_bleu4"), ("loss", "loss")):
        assert list(values[tag]) == [int(row["step"]) for row in rows]
        expected = [float(row[column]) for row in rows]
        np.testing.assert_allclose(list(values[tag].values()), expected, rtol=1e-5, atol=1e-9)
    samples = values["dev/captions"][60].item().decode()
    assert len(samples.split("\n\n")) == 4
    assert ".jpg: " in samples
