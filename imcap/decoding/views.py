"""Both views of an image: the image and its mirror image, of which the decoder's probabilities are
averaged, in graph."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf
from ml_collections import ConfigDict

from imcap import records
from imcap.decoders.base import DecoderLike, Dropout, State
from imcap.decoding import attention
from imcap.decoding.ensemble import Ensemble
from imcap.errors import UserError


def keys(info: records.Info, split: str, both: bool) -> tuple[str, ...]:
    """Returns the keys of the features that captions of a split are made from.

    Args:
      info: the records' info.json.
      split: which they hold.
      both: `config.decode.both_views`.

    Raises:
      UserError: both views are wanted, and the split has one.
    """
    if both and records.FLIPPED not in info.splits[split]["views"]:
        setting = "flip" if split == "train" else "flip_eval"
        raise UserError(
            f"config.decode.both_views needs the flipped view of each image, and the records of "
            f"the split {split} have none: build others with --config.records.{setting} "
            "--config.records.dir=DIR"
        )
    return (records.FEATURES, records.FLIPPED) if both else (records.FEATURES,)


def names(both: bool) -> list[str]:
    """Returns what names the folder of an evaluation; `both`: `config.decode.both_views`."""
    return ["both-views"] if both else []


def prepare(decoder: DecoderLike, decode: ConfigDict, grid: tuple[int, int]) -> DecoderLike:
    """Returns a decoder of the features that `decode.both_views` asks for.

    Features of both views are [batch, 2 * positions, channels]: first the positions of the image,
    then those of the flipped one. Attention is over the image itself. What it encodes for
    reranking is the first view, by which training images are compared, too.

    Args:
      decoder: of features [batch, positions, channels].
      decode: a config's `decode` part.
      grid: (rows, columns) of the records' positions.
    """
    if not decode.both_views:
        return decoder
    return Ensemble([_View(decoder, number, grid) for number in (0, 1)])


def encode(
    encoder: Callable[[tf.Tensor], tf.Tensor], pixels: tf.Tensor, decode: ConfigDict
) -> tf.Tensor:
    """Returns the features that `prepare`'s decoder takes.

    Args:
      encoder: from pixels to features [batch, positions, channels].
      pixels: float32 [batch, height, width, 3].
      decode: a config's `decode` part.
    """
    if not decode.both_views:
        return encoder(pixels)
    # One call, so that a graph holds the encoder once.
    features = encoder(tf.concat([pixels, tf.reverse(pixels, [2])], axis=0))
    return tf.concat(tf.split(features, 2), axis=1)


class _View(tf.Module):
    """The decoder of one view; see `Decoder` for the methods."""

    def __init__(self, decoder: DecoderLike, number: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self._decoder, self._number = decoder, number
        self._grid = decoder.grid(grid)

    def encode(self, features: tf.Tensor) -> tf.Tensor:
        return self._decoder.encode(self._own(features))

    def encoding_digest(self) -> str:
        return self._decoder.encoding_digest()

    def describe_encoding(self) -> str:
        return self._decoder.describe_encoding() if self._number == 0 else ""

    def grid(self, records_grid: tuple[int, int]) -> tuple[int, int]:
        return self._decoder.grid(records_grid)

    def start(self, features: tf.Tensor, width: int, dropout: Dropout) -> tuple[State, State]:
        memory, carry = self._decoder.start(self._own(features), width, dropout)
        return memory, self._turn(carry)

    def step(self, tokens: tf.Tensor, memory: State, carry: State) -> tuple[tf.Tensor, State]:
        logits, carry = self._decoder.step(tokens, memory, self._turn(carry))
        return logits, self._turn(carry)

    def output_vectors(self, features: tf.Tensor, tokens: tf.Tensor, dropout: Dropout) -> tf.Tensor:
        return self._decoder.output_vectors(self._own(features), tokens, dropout)

    def logits(self, vectors: tf.Tensor) -> tf.Tensor:
        return self._decoder.logits(vectors)

    def _own(self, features: tf.Tensor) -> tf.Tensor:
        return _split(features)[self._number]

    def _turn(self, carry: State) -> State:
        """Turns attention over the flipped image to attention over the image, and back."""
        if self._number == 0 or attention.KEY not in carry:
            return carry
        weights = carry[attention.KEY]
        rows = tf.reshape(weights, tf.concat([tf.shape(weights)[:-1], self._grid], axis=0))
        turned = tf.reshape(tf.reverse(rows, [-1]), tf.shape(weights))
        return carry | {attention.KEY: tf.ensure_shape(turned, weights.shape)}


def _split(features: tf.Tensor) -> list[tf.Tensor]:
    return tf.split(features, 2, axis=1)
