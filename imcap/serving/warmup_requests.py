"""Requests with which TensorFlow Serving initializes an exported graph before real ones."""

from __future__ import annotations

import io

import numpy as np
import tensorflow as tf
from PIL import Image

PATH = "assets.extra/tf_serving_warmup_requests"  # Below an exported version's folder.
_BATCH_SIZES = (1, 8)


def write(path: str, image_size: int) -> None:
    """Writes requests of several batch sizes.

    Args:
      path: of the file, below the model's folder (`PATH`).
      image_size: width and height of the image that is sent.
    """
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    image = _draw_image(image_size)
    with tf.io.TFRecordWriter(path) as writer:
        for batch_size in _BATCH_SIZES:
            request = predict_pb2.PredictRequest()
            request.model_spec.signature_name = "serving_default"
            request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([image] * batch_size))
            log = prediction_log_pb2.PredictLog(request=request)
            entry = prediction_log_pb2.PredictionLog(predict_log=log)
            writer.write(entry.SerializeToString(deterministic=True))


def _draw_image(side: int) -> bytes:
    """Returns a JPEG of a colour gradient, `side` pixels wide and high."""
    ramp = np.linspace(0, 255, side, dtype=np.uint8)
    pixels = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None], np.uint8(128)), axis=-1)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "JPEG")
    return buffer.getvalue()
