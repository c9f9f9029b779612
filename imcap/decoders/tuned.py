"""A decoder after upper layers of the encoder, which are trained with it."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import tensorflow as tf
from ml_collections import ConfigDict

from imcap import decoders, records
from imcap.decoders.base import Decoder, Dropout, State
from imcap.decoders.word_vectors import WordVectors
from imcap.encoders import upper_layers as upper_layers_lib
from imcap.encoders.upper_layers import UpperLayers


@dataclasses.dataclass(frozen=True)
class _Encoded:
    """Features of a graph and what the upper layers made of them there."""

    features: Any
    result: Any


class TunedDecoder(Decoder):
    """A decoder that reads the output of upper layers, which read the records' features.

    Attributes:
      decoder: reads what the upper layers return.
      upper_layers: their products have the dtype that they were built with, in decoding, too.
    """

    def __init__(self, decoder: Decoder, upper_layers: UpperLayers) -> None:
        """The weights are those of the two parts, the decoder's first."""
        # Decoder's own constructor would make weights that `decoder` has.
        keras.layers.Layer.__init__(self, name=f"tuned_{decoder.name}", autocast=False)
        self.config, self.vocab_size = decoder.config, decoder.vocab_size
        self.decoder, self.upper_layers = decoder, upper_layers
        self._last = _Encoded(None, None)

    def encode(self, features: tf.Tensor) -> tf.Tensor:
        """See `Decoder`: the upper layers' output.

        In a graph the same features are encoded once, whichever methods they are given to.
        """
        if tf.executing_eagerly():
            return self.upper_layers(features)
        # A tensor belongs to one graph, but an inner graph may capture it.
        graph, last = tf.compat.v1.get_default_graph(), self._last
        if last.features is not features or last.result.graph is not graph:
            last = self._last = _Encoded(features, self.upper_layers(features))
        return last.result

    def encoding_digest(self) -> str:
        """See `Decoder`."""
        return self.upper_layers.digest()

    def describe_encoding(self) -> str:
        """See `Decoder`."""
        rows, columns = self.upper_layers.feature_grid
        return (
            f"the encoder's layers above those of the features: {self.upper_layers.num_weights} "
            f"weights, digest {self.encoding_digest()}; they give {rows}x{columns} positions of "
            f"{self.upper_layers.channels} channels"
        )

    def prepare_search(self) -> None:
        """See `Decoder`."""
        self.decoder.prepare_search()

    def start(self, features: tf.Tensor, width: int, dropout: Dropout) -> tuple[State, State]:
        """See `Decoder`."""
        return self.decoder.start(self.encode(features), width, dropout)

    def output_vectors(self, features: tf.Tensor, tokens: tf.Tensor, dropout: Dropout) -> tf.Tensor:
        """See `Decoder`."""
        return self.decoder.output_vectors(self.encode(features), tokens, dropout)

    def step(self, tokens: tf.Tensor, memory: State, carry: State) -> tuple[tf.Tensor, State]:
        """See `Decoder`."""
        return self.decoder.step(tokens, memory, carry)

    def logits(self, vectors: tf.Tensor) -> tf.Tensor:
        """See `Decoder`."""
        return self.decoder.logits(vectors)

    def embed(self, tokens: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
        """See `Decoder`."""
        return self.decoder.embed(tokens, dtype)

    def grid(self, records_grid: tuple[int, int]) -> tuple[int, int]:
        """See `Decoder`."""
        del records_grid
        return self.upper_layers.feature_grid

    def weights_by_name(self) -> dict[str, keras.Variable]:
        """See `Decoder`; layers of a network may have any names, so theirs are numbers."""
        tuned = enumerate(self.upper_layers.weights)
        return self.decoder.weights_by_name() | {f"tuned_{n}": weight for n, weight in tuned}


def build(
    model: ConfigDict,
    info: records.Info,
    upper: keras.Model | None = None,
    *,
    compute_dtype: str = "float32",
    seed: int = 0,
    vectors: WordVectors | None = None,
    tune: bool = True,
) -> Decoder:
    """Builds a decoder of the features that records hold.

    Args:
      model: a config's `model` part.
      info: of the records.
      upper: layers of the encoder to put before it, from `upper_layers.load`; None: none.
      compute_dtype: of all matrix products in training, and of the upper layers' in decoding.
      seed, vectors: see `decoders.build`.
      tune: whether the upper layers' weights are trained.
    """
    channels, layers = info.feature_shape[1], None
    if upper is not None:
        layers = UpperLayers(upper, info.feature_grid, compute_dtype=compute_dtype, trainable=tune)
        channels = layers.channels
    decoder = decoders.build(
        model,
        info.text["vocabulary_size"],
        channels,
        compute_dtype=compute_dtype,
        seed=seed,
        vectors=vectors,
    )
    return decoder if layers is None else TunedDecoder(decoder, layers)


def build_for_weights(
    model: ConfigDict, info: records.Info, encoder: ConfigDict | None = None
) -> Decoder:
    """Builds the decoder of a run, for weights that are restored afterwards.

    Args:
      model: a config's `model` part.
      info: of the records.
      encoder: a config's `encoder` part; None: without a `tune_from`.
    """
    upper = None
    if encoder is not None and encoder.tune_from:
        upper, _ = upper_layers_lib.load(encoder, pretrained=False)
    return build(model, info, upper)
