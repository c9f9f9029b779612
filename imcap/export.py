"""The SavedModel: image bytes in, captions out, with all preprocessing inside."""

from __future__ import annotations

import io
import os

import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict
from PIL import Image

from imcap import encoders, filesystem, images, records, text
from imcap.decoders.base import Decoder
from imcap.decoding import beam_search
from imcap.errors import UserError
from imcap.reports import model_card
from imcap.training import checkpoints

_WARMUP_BATCHES = (1, 8)


class CaptionModel(tf.Module):
    """Encoder, decoder and vocabulary as one graph; its methods are the signatures."""

    def __init__(
        self,
        config: ConfigDict,
        encoder: encoders.Encoder,
        decoder: Decoder,
        tokenizer: text.Tokenizer,
    ) -> None:
        """`config`: the resolved config that the decoder was trained with."""
        super().__init__()
        self._config, self._encoder, self._decoder = config, encoder, decoder
        self._tokenizer = tokenizer

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")])
    def caption(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """string [batch] to `caption` string [batch], `score` float32 [batch] (mean
        log-probability per token), `captions` string [batch, beam] and `scores` float32
        [batch, beam], best first."""
        found = beam_search.search(self._decoder, self._features(image_bytes), self._config.decode)
        captions = self._tokenizer.decode_tf(found.tokens)
        return {
            "caption": captions[:, 0],
            "score": found.scores[:, 0],
            "captions": captions,
            "scores": found.scores,
        }

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, "image_bytes"),
            tf.TensorSpec([None], tf.string, "caption"),
        ]
    )
    def score(self, image_bytes: tf.Tensor, caption: tf.Tensor) -> dict[str, tf.Tensor]:
        """How well a raw caption fits an image: string [batch] twice to `score`, float32 [batch],
        mean log-probability per token."""
        tokens = self._tokenizer.encode_tf(caption).to_tensor()[:, tf.newaxis]
        total, count = beam_search.log_probability(
            self._decoder, self._features(image_bytes), tokens
        )
        return {"score": total[:, 0] / count[:, 0]}

    def _features(self, image_bytes: tf.Tensor) -> tf.Tensor:
        size, max_pixels = self._config.encoder.image_size, self._config.encoder.max_pixels
        pixels = tf.map_fn(
            lambda one: images.load(one, size, max_pixels),
            image_bytes,
            fn_output_signature=tf.TensorSpec([size, size, 3], tf.float32),
        )
        # The decoder was trained on what the records' dtype leaves of the features.
        return tf.cast(self._encoder(pixels), tf.as_dtype(self._config.records.dtype))


def export_model(config: ConfigDict, workdir: str) -> str:
    """Exports the trained captioner to the next free `WORKDIR/export/{version}`.

    Returns:
      The folder: a SavedModel with warm-up requests for TensorFlow Serving and MODEL_CARD.md.

    Raises:
      UserError: nothing was trained, or the encoder is not the one of the records.
    """
    info = records.read_info(config.records.dir)
    encoder = encoders.build(config.encoder)
    _check_encoder(encoder, info, config.records.dir)
    tokenizer = text.Tokenizer(records.read_vocabulary(config.records.dir), config.text.max_length)
    decoder = checkpoints.load_decoder(config, workdir, info)
    model = CaptionModel(config, encoder, decoder, tokenizer)
    target = _next_version(os.path.join(workdir, "export"))
    signatures = {"serving_default": model.caption, "score": model.score}
    card = model_card.render(config, info, workdir)
    with filesystem.replacing(target) as temporary:
        tf.saved_model.save(model, temporary, signatures=signatures)
        _write_warmup(temporary, config.encoder.image_size)
        filesystem.write_text(os.path.join(temporary, "MODEL_CARD.md"), card)
    return target


def _check_encoder(encoder: encoders.Encoder, info: records.Info, folder: str) -> None:
    expected, found = info.encoder["weights_digest"], encoder.digest()
    if expected != found:
        raise UserError(
            f"config.encoder gives weights {found}, but {folder} was encoded with {expected} "
            f"({info.encoder['name']}): export with the records' encoder"
        )


def _next_version(folder: str) -> str:
    os.makedirs(folder, exist_ok=True)
    versions = [int(name) for name in os.listdir(folder) if name.isdigit()]
    return os.path.join(folder, str(max(versions, default=0) + 1))


def _write_warmup(folder: str, size: int) -> None:
    """Lets TensorFlow Serving trace and warm every kernel before the first real request."""
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    path = os.path.join(folder, "assets.extra", "tf_serving_warmup_requests")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    photo = sample_photo(size)
    with tf.io.TFRecordWriter(path) as writer:
        for batch in _WARMUP_BATCHES:
            request = predict_pb2.PredictRequest()
            request.model_spec.signature_name = "serving_default"
            request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([photo] * batch))
            log = prediction_log_pb2.PredictLog(request=request)
            entry = prediction_log_pb2.PredictionLog(predict_log=log)
            writer.write(entry.SerializeToString(deterministic=True))


def sample_photo(size: int) -> bytes:
    """Returns a JPEG of a colour gradient, `size` pixels square."""
    ramp = np.linspace(0, 255, size, dtype=np.uint8)
    pixels = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None], np.uint8(128)), axis=-1)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "JPEG")
    return buffer.getvalue()
