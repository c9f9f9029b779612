"""The requests with which TensorFlow Serving warms an exported model up."""

from __future__ import annotations

import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from imcap.serving import warmup_requests


def test_warmup_requests_replay_through_the_signature(landscape_export):
    model = tf.saved_model.load(str(landscape_export))
    path = str(landscape_export / warmup_requests.PATH)
    entries = [record.numpy() for record in tf.data.TFRecordDataset(path)]
    batches = []
    for entry in entries:
        log = prediction_log_pb2.PredictionLog.FromString(entry)
        request = log.predict_log.request
        inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
        signature = model.signatures[request.model_spec.signature_name]
        found = signature(**{name: tf.constant(value) for name, value in inputs.items()})
        assert all(found["caption"].numpy())
        batches.append(len(inputs["image_bytes"]))
    assert batches == [1, 8]
