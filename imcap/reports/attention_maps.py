"""Attention maps: which positions of an image a decoder attended to for each word."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from imcap import records, text
from imcap.decoders.base import DecoderLike
from imcap.decoding import attention
from imcap.reports import plots, thumbnails


class Sample(NamedTuple):
    """An image whose attention is drawn.

    Attributes:
      image_id: names the PNG file.
      image_path: of the image's file.
      features: [positions, channels], as the decoder takes them.
      caption: the predicted one.
    """

    image_id: str
    image_path: str
    features: tf.Tensor
    caption: str


def read_features(
    folder: str,
    info: records.Info,
    split: str,
    indices: Collection[int],
    keys: Sequence[str] = (records.FEATURES,),
) -> dict[int, tf.Tensor]:
    """Returns the features of single images, reading only the shards that hold them.

    Args:
      folder: the records folder.
      info: its info.json.
      split: of the images.
      indices: of the images in the split, counted from 0 in the records' order.
      keys: of the features.

    Returns:
      index -> features [positions, channels] in the records' dtype, of one key after the other.
    """
    found, first = {}, 0
    for path, length in records.shards(folder, info, split):
        wanted = {index for index in indices if first <= index < first + length}
        if wanted:
            last = max(wanted) - first
            shard = records.dataset([path], info.compression).take(last + 1)
            for index, serialized in enumerate(shard, first):
                if index in wanted:
                    views = [records.parse(serialized[tf.newaxis], info, key) for key in keys]
                    found[index] = tf.concat([view["features"][0] for view in views], axis=0)
        first += length
    return found


def word_maps(
    decoder: DecoderLike,
    tokenizer: text.Tokenizer,
    grid: tuple[int, int],
    features: tf.Tensor,
    caption: str,
) -> np.ndarray:
    """Returns the attention weights of a caption's words, float32 [words, rows, columns].

    Args:
      decoder: one with attention.
      tokenizer: of the captions.
      grid: (rows, columns) of the features' positions.
      features: [positions, channels].
      caption: words beyond the tokenizer's largest length have no map.
    """
    tokens = tf.constant(tokenizer.encode([caption])[0][tf.newaxis, 1:])
    (weights,) = attention.attention_weights(decoder, features[tf.newaxis], tokens)
    return weights.numpy().reshape(len(weights), *grid)[: len(caption.split())]


def write_attention_maps(
    folder: str,
    decoder: DecoderLike,
    tokenizer: text.Tokenizer,
    grid: tuple[int, int],
    samples: Iterable[Sample],
) -> dict[str, str]:
    """Draws a PNG per sample: the image, then for each word the attention weights over it.

    Args:
      folder: where they are written; what it holds from before is removed.
      decoder: one with attention; for others nothing is drawn.
      tokenizer: of the captions.
      grid: (rows, columns) of the positions that attention weighs.
      samples: what to draw; one whose image cannot be read or whose caption is empty is skipped.

    Returns:
      image_id -> the file written.
    """
    shutil.rmtree(folder, ignore_errors=True)  # Maps of other captions or weights.
    written: dict[str, str] = {}
    for sample in samples:
        words = sample.caption.split()
        if not attention.has_attention(decoder, sample.features.shape):
            return written
        try:
            image = np.asarray(thumbnails.load_thumbnail(sample.image_path))
        except thumbnails.ERRORS:
            continue
        if words:
            os.makedirs(folder, exist_ok=True)
            path = os.path.join(folder, os.path.basename(sample.image_id) + ".png")
            maps = word_maps(decoder, tokenizer, grid, sample.features, sample.caption)
            plots.draw_attention(image, words[: len(maps)], maps, path)
            written[sample.image_id] = path
    return written
