"""The SavedModel: image bytes in, captions out, with all preprocessing inside."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict
from PIL import Image

from imcap import config as config_lib
from imcap import encoders, filesystem, images, records, text
from imcap.decoders.base import Decoder
from imcap.decoding import attention, beam_search, rerank
from imcap.errors import UserError
from imcap.metrics import files
from imcap.records import staging
from imcap.reports import model_card
from imcap.training import checkpoints, initial_vectors

METADATA = "assets.extra/imcap.json"  # Below an exported version's folder.
WARMUP = "assets.extra/tf_serving_warmup_requests"
_WARMUP_BATCH_SIZES = (1, 8)


class CaptionModel(tf.Module):
    """Encoder, decoder and vocabulary as one graph; its methods are the signatures."""

    def __init__(
        self,
        encoder: encoders.Encoder,
        decoder: Decoder,
        tokenizer: text.Tokenizer,
        info: records.Info,
        decode: ConfigDict,
        reranker: rerank.Reranker = rerank.keep_order,
    ) -> None:
        """Stores the parts.

        Args:
          encoder: the one that made the records.
          decoder: trained on them.
          tokenizer: of their vocabulary.
          info: their info.json, for how images are prepared and the dtype of the features.
          decode: a config's `decode` part.
          reranker: orders the captions found.
        """
        super().__init__()
        self._encoder, self._decoder, self._tokenizer = encoder, decoder, tokenizer
        self._decode, self._reranker = decode, reranker
        self._image_size = info.preprocessing["image_size"]
        self._max_pixels = info.preprocessing["max_pixels"]
        self._feature_dtype = tf.as_dtype(info.feature_dtype)
        self._grid, self._channels = info.feature_grid, info.feature_shape[-1]

    def signatures(self) -> dict[str, Callable[..., Any]]:
        """Returns the methods by the name of their signature; `attention` if the decoder has it."""
        found = {"serving_default": self.caption, "score": self.score, "beam_search": self.search}
        if attention.has_attention(self._decoder, self._channels):
            # Saving traces every function of a module: one of this cannot be for other decoders.
            inputs = [tf.TensorSpec([None], tf.string, n) for n in ("image_bytes", "caption")]
            found["attention"] = tf.function(self.attention, input_signature=inputs)
        return found

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")])
    def caption(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Captions images.

        Args:
          image_bytes: string [batch], encoded images (JPEG, PNG, GIF, BMP or still WebP).

        Returns:
          `captions` string [batch, beam], in descending order of `ranks`.
          `ranks` float32 [batch, beam]: the total log-probability, END included, divided by the
            number of tokens to the power of `length_penalty`; of a model that reranks, what the
            reranking ordered them by.
          `scores` float32 [batch, beam]: the mean log-probability per token, END included.
          `caption` string [batch], `score` float32 [batch]: the first of `captions` and `scores`.
        """
        found = self._search(image_bytes)
        captions = self._tokenizer.decode_tf(found.tokens)
        return {
            "caption": captions[:, 0],
            "score": found.scores[:, 0],
            "captions": captions,
            "scores": found.scores,
            "ranks": found.ranks,
        }

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, "image_bytes"),
            tf.TensorSpec([None], tf.string, "caption"),
        ]
    )
    def score(self, image_bytes: tf.Tensor, caption: tf.Tensor) -> dict[str, tf.Tensor]:
        """Scores given captions.

        Args:
          image_bytes: string [batch], encoded images.
          caption: string [batch], a caption of each, as people write it.

        Returns:
          `score` float32 [batch]: the caption's mean log-probability per token, END included.
        """
        tokens = self._tokenizer.encode_tf(caption).to_tensor()[:, tf.newaxis]
        total, count = beam_search.log_probability(
            self._decoder, self._features(image_bytes), tokens
        )
        return {"score": total[:, 0] / count[:, 0]}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, "image_bytes"),
            tf.TensorSpec([], tf.int32, "beam_size"),
        ]
    )
    def search(self, image_bytes: tf.Tensor, beam_size: tf.Tensor) -> dict[str, tf.Tensor]:
        """Captions images with another beam than the config's.

        Args:
          image_bytes: string [batch], encoded images.
          beam_size: int32 [], at least 1.

        Returns:
          `captions`, `ranks` and `scores` [batch, beam_size], as `caption` returns them.
        """
        found = self._search(image_bytes, beam_size)
        captions = self._tokenizer.decode_tf(found.tokens)
        return {"captions": captions, "scores": found.scores, "ranks": found.ranks}

    def _search(
        self, image_bytes: tf.Tensor, beam_size: tf.Tensor | None = None
    ) -> beam_search.SearchResult:
        features = self._features(image_bytes)
        found = beam_search.search(self._decoder, features, self._decode, beam_size)
        return self._reranker(found, features)

    def attention(self, image_bytes: tf.Tensor, caption: tf.Tensor) -> dict[str, tf.Tensor]:
        """Shows where the decoder looked for each word of given captions.

        Args:
          image_bytes: string [batch], encoded images.
          caption: string [batch], a caption of each.

        Returns:
          `attention` float32 [batch, tokens, rows, columns]: for each token, END included, weights
            over the grid that covers the image, which add up to 1; zeros after the end.
        """
        tokens = self._tokenizer.encode_tf(caption).to_tensor()[:, 1:]
        weights = attention.attention_weights(self._decoder, self._features(image_bytes), tokens)
        shape = tf.concat([tf.shape(weights)[:2], self._grid], axis=0)
        return {"attention": tf.reshape(weights, shape)}

    # One function that all signatures call, so that the encoder's graph is written only once.
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")])
    def _features(self, image_bytes: tf.Tensor) -> tf.Tensor:
        size = self._image_size
        pixels = tf.map_fn(
            lambda encoded: images.load(encoded, size, self._max_pixels),
            image_bytes,
            fn_output_signature=tf.TensorSpec([size, size, 3], tf.float32),
        )
        # The decoder was trained on features that were rounded to the records' dtype.
        return tf.cast(self._encoder(pixels), self._feature_dtype)


def export_model(config: ConfigDict, workdir: str, checkpoint: str = checkpoints.BEST) -> str:
    """Exports the trained captioner to the next free `WORKDIR/export/{version}`.

    Args:
      config: resolved.
      workdir: the run's folder.
      checkpoint: which weights; see `checkpoints.choose`.

    Returns:
      The folder: a SavedModel with MODEL_CARD.md, warm-up requests for TensorFlow Serving and
      `METADATA`, which holds the vocabulary's digest and how images are prepared.

    Raises:
      UserError: nothing was trained, there is no such checkpoint, it is of another vocabulary, or
        config.encoder would give other features than the records hold, or as
        `neighbor_files.read_or_build` where captions are reranked.
    """
    model, info, chosen = _build_model(config, workdir, checkpoint)
    described = checkpoints.describe(workdir, chosen)
    card = model_card.render(
        info,
        model=config.model,
        decode=config.decode,
        epochs=config.train.epochs,
        seed=config.seed,
        checkpoint=described,
        scores=files.scores_of(workdir, described["step"], config.decode.rerank),
        word_vectors=initial_vectors.describe_run(workdir),
    )
    return _write(model, os.path.join(workdir, "export"), info, card)


def load_run(workdir: str, checkpoint: str) -> CaptionModel:
    """Returns a run's captioner, built of its config and its weights instead of an export.

    Args:
      workdir: the run's folder, with its config.json and, where that says so, its records.
      checkpoint: which weights; see `checkpoints.choose`.

    Raises:
      UserError: `workdir` is no run's folder, or as `export_model`.
    """
    config = config_lib.read(workdir)
    if config is None:
        raise UserError(
            f"{workdir} is not a run's folder: it has no {config_lib.CONFIG_JSON}. --checkpoint "
            "chooses among the weights of a run; an exported model has only one"
        )
    model, *_ = _build_model(config_lib.resolve(config, workdir), workdir, checkpoint)
    return model


def _build_model(
    config: ConfigDict, workdir: str, checkpoint: str
) -> tuple[CaptionModel, records.Info, checkpoints.Chosen]:
    """Returns a run's captioner, its records' info.json, and which weights it has."""
    records_config = config.records
    folder = staging.local_folder(records_config.dir, records_config.cache_dir, with_shards=False)
    info = records.read_info(folder)
    info.check_encoder(folder, config.encoder)  # Before the weights are read, which takes longer.
    encoder = encoders.build(config.encoder)
    info.check_encoder(folder, config.encoder, encoder.digest())
    # The search may give longer captions than training saw; `score` has to take them whole.
    max_length = max(info.text["max_length"], config.decode.max_length)
    tokenizer = records.read_tokenizer(folder, info, max_length)
    # The encoder's file may lie elsewhere now: its weights were compared with the records' above.
    config_lib.check_run(config, workdir, free=("encoder.name", "encoder.weights"))
    chosen = checkpoints.choose(workdir, checkpoint)
    decoder = checkpoints.load_decoder(config.model, workdir, info, chosen)
    reranker = rerank.build(
        config.decode,
        workdir,
        info,
        lambda: staging.local_folder(records_config.dir, records_config.cache_dir),
        skip_corrupted=records_config.skip_corrupted,
    )
    return CaptionModel(encoder, decoder, tokenizer, info, config.decode, reranker), info, chosen


def _write(model: CaptionModel, folder: str, info: records.Info, card: str) -> str:
    """Writes the next version below `folder`; returns its folder."""
    target = _next_version(folder)
    metadata = {
        "vocabulary_digest": info.vocabulary_digest,
        # A network's file is named without the folders of the machine that exported it.
        "encoder": {**info.encoder, "name": os.path.basename(info.encoder["name"])},
        "preprocessing": info.preprocessing,
        "feature_dtype": info.feature_dtype,
    }
    with filesystem.replacing(target) as temporary:
        tf.saved_model.save(model, temporary, signatures=model.signatures())
        os.makedirs(os.path.dirname(os.path.join(temporary, METADATA)), exist_ok=True)
        filesystem.write_json(os.path.join(temporary, METADATA), metadata, indent=1)
        _write_warmup(os.path.join(temporary, WARMUP), info.preprocessing["image_size"])
        filesystem.write_text(os.path.join(temporary, "MODEL_CARD.md"), card)
    return target


def _next_version(folder: str) -> str:
    os.makedirs(folder, exist_ok=True)
    versions = [int(name) for name in os.listdir(folder) if name.isdigit()]
    return os.path.join(folder, str(max(versions, default=0) + 1))


def _write_warmup(path: str, image_size: int) -> None:
    """Writes requests with which TensorFlow Serving initializes the graph before real ones."""
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    image = sample_image(image_size)
    with tf.io.TFRecordWriter(path) as writer:
        for batch_size in _WARMUP_BATCH_SIZES:
            request = predict_pb2.PredictRequest()
            request.model_spec.signature_name = "serving_default"
            request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([image] * batch_size))
            log = prediction_log_pb2.PredictLog(request=request)
            entry = prediction_log_pb2.PredictionLog(predict_log=log)
            writer.write(entry.SerializeToString(deterministic=True))


def sample_image(side: int) -> bytes:
    """Returns a JPEG of a colour gradient, `side` pixels wide and high."""
    ramp = np.linspace(0, 255, side, dtype=np.uint8)
    pixels = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None], np.uint8(128)), axis=-1)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "JPEG")
    return buffer.getvalue()
