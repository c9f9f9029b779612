"""The graph of an exported captioner: image bytes in, captions out, all preprocessing inside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from ml_collections import ConfigDict

from imcap import images, records, text
from imcap.decoders.base import DecoderLike
from imcap.decoding import attention, beam_search, rerank, views
from imcap.exporting.plain_tokens import PlainTokenizer


class CaptionModel(tf.Module):
    """Encoder, decoder and vocabulary as one graph; its methods are the signatures."""

    def __init__(
        self,
        encoder: Callable[[tf.Tensor], tf.Tensor],
        decoder: DecoderLike,
        tokenizer: text.Tokenizer,
        info: records.Info,
        decode: ConfigDict,
        reranker: rerank.Reranker = rerank.keep_order,
    ) -> None:
        """Stores the parts.

        Args:
          encoder: the one that made the records, or that in another dtype.
          decoder: trained on them.
          tokenizer: of their vocabulary.
          info: their info.json, for how images are prepared and the dtype of the features.
          decode: a config's `decode` part.
          reranker: orders the captions found.
        """
        super().__init__()
        self._encoder, self._decode = encoder, decode
        # `tokenizer` itself would bring ops of tensorflow-text into the SavedModel.
        self._tokenizer, self._to_captions = PlainTokenizer(tokenizer), tokenizer.decode_tf
        self._decoder = views.prepare(decoder, decode, info.feature_grid)
        self._reranker = reranker
        self._image_size = info.preprocessing["image_size"]
        self._max_pixels = info.preprocessing["max_pixels"]
        self._feature_dtype = info.feature_dtype
        self._grid = decoder.grid(info.feature_grid)
        positions, channels = info.feature_shape
        self._shape = (2 * positions if decode.both_views else positions, channels)
        # Without signatures of their own, saving would trace these again, and write them twice.
        size, dtype = self._image_size, records.float_dtype(info.feature_dtype)
        pixels = tf.TensorSpec([None, size, size, 3], tf.float32, "pixels")
        features = tf.TensorSpec([None, *self._shape], dtype, "features")
        self.encode = tf.function(self._encode, input_signature=[pixels], autograph=False)
        self.caption_features = tf.function(
            self._caption_features, input_signature=[features], autograph=False
        )

    @property
    def decoder(self) -> DecoderLike:
        """What gives the captions."""
        return self._decoder

    def signatures(self) -> dict[str, Callable[..., Any]]:
        """Returns the methods by the name of their signature; `attention` if the decoder has it."""
        found = {"serving_default": self.caption, "score": self.score, "beam_search": self.search}
        if attention.has_attention(self._decoder, self._shape):
            # Saving traces every function of a module: one of this cannot be for other decoders.
            inputs = [tf.TensorSpec([None], tf.string, n) for n in ("image_bytes", "caption")]
            found["attention"] = tf.function(
                self.attention, input_signature=inputs, autograph=False
            )
        return found

    def steps(self) -> dict[str, Any]:
        """Returns the graphs of `encode` and `caption_features`, for batches of any size."""
        return {
            "encode": self.encode.get_concrete_function(),
            "caption_features": self.caption_features.get_concrete_function(),
        }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")], autograph=False)
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
        return self.caption_features(self._features(image_bytes))

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, "image_bytes"),
            tf.TensorSpec([None], tf.string, "caption"),
        ],
        autograph=False,
    )
    def score(self, image_bytes: tf.Tensor, caption: tf.Tensor) -> dict[str, tf.Tensor]:
        """Scores given captions.

        Args:
          image_bytes: string [batch], encoded images.
          caption: string [batch], a caption of each, as people write it.

        Returns:
          `score` float32 [batch]: the caption's mean log-probability per token, END included.
        """
        tokens = self._tokens(caption)[:, tf.newaxis]
        total, count = beam_search.log_probability(
            self._decoder, self._features(image_bytes), tokens
        )
        return {"score": total[:, 0] / count[:, 0]}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, "image_bytes"),
            tf.TensorSpec([], tf.int32, "beam_size"),
        ],
        autograph=False,
    )
    def search(self, image_bytes: tf.Tensor, beam_size: tf.Tensor) -> dict[str, tf.Tensor]:
        """Captions images with another beam than the config's.

        Args:
          image_bytes: string [batch], encoded images.
          beam_size: int32 [], at least 1.

        Returns:
          `captions`, `ranks` and `scores` [batch, beam_size], as `caption` returns them.
        """
        found = self._search(self._features(image_bytes), beam_size)
        captions = self._to_captions(found.tokens)
        return {"captions": captions, "scores": found.scores, "ranks": found.ranks}

    def _caption_features(self, features: tf.Tensor) -> dict[str, tf.Tensor]:
        """Captions encoded images; callers that encode in other batches than they search call it.

        Args:
          features: [batch, positions, channels], as `encode` returns them.

        Returns:
          What `caption` returns.
        """
        found = self._search(features)
        captions = self._to_captions(found.tokens)
        return {
            "caption": captions[:, 0],
            "score": found.scores[:, 0],
            "captions": captions,
            "scores": found.scores,
            "ranks": found.ranks,
        }

    def _search(
        self, features: tf.Tensor, beam_size: tf.Tensor | None = None
    ) -> beam_search.SearchResult:
        found = beam_search.search(self._decoder, features, self._decode, beam_size)
        return self._reranker(found, self._decoder.encode(features))

    def attention(self, image_bytes: tf.Tensor, caption: tf.Tensor) -> dict[str, tf.Tensor]:
        """Shows where the decoder looked for each word of given captions.

        Args:
          image_bytes: string [batch], encoded images.
          caption: string [batch], a caption of each.

        Returns:
          `attention` float32 [batch, tokens, rows, columns]: for each token, END included, weights
            over the grid that covers the image, which add up to 1; zeros after the end.
        """
        tokens = self._tokens(caption)[:, 1:]
        weights = attention.attention_weights(self._decoder, self._features(image_bytes), tokens)
        shape = tf.concat([tf.shape(weights)[:2], self._grid], axis=0)
        return {"attention": tf.reshape(weights, shape)}

    # Functions that several signatures call, so that their graphs are written only once.
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "caption")], autograph=False)
    def _tokens(self, caption: tf.Tensor) -> tf.Tensor:
        return self._tokenizer.encode_tf(caption).to_tensor()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")], autograph=False)
    def _features(self, image_bytes: tf.Tensor) -> tf.Tensor:
        size = self._image_size
        pixels = tf.map_fn(
            lambda encoded: images.load(encoded, size, self._max_pixels),
            image_bytes,
            fn_output_signature=tf.TensorSpec([size, size, 3], tf.float32),
        )
        return self.encode(pixels)

    def _encode(self, pixels: tf.Tensor) -> tf.Tensor:
        """Encodes images that are decoded already.

        Args:
          pixels: float32 [batch, image_size, image_size, 3], as `images.load` returns each.

        Returns:
          Features [batch, positions, channels], of both views one after the other where
          `decode.both_views` is set.
        """
        return views.encode(self._encode_view, pixels, self._decode)

    def _encode_view(self, pixels: tf.Tensor) -> tf.Tensor:
        # The decoder was trained on features that were rounded to the records' dtype.
        return records.rounded(self._encoder(pixels), self._feature_dtype)
