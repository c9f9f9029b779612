"""Attention maps: which positions of an image a decoder attended to for each word."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Sequence
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
      image_id: is in the PNG file's name.
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
    features: Sequence[tf.Tensor],
    captions: Sequence[str],
) -> list[np.ndarray]:
    """Returns the attention weights of each caption's words, float32 [words, rows, columns].

    Args:
      decoder: one with attention.
      tokenizer: of the captions.
      grid: (rows, columns) of the features' positions.
      features: [positions, channels] of each caption's image.
      captions: words beyond the tokenizer's largest length have no map.
    """
    tokens = tokenizer.encode_tf(tf.constant(captions)).to_tensor()[:, 1:]
    weights = attention.attention_weights(decoder, tf.stack(features), tokens).numpy()
    lengths = [min(len(caption.split()), tokenizer.max_length) for caption in captions]
    maps = weights.reshape(*weights.shape[:2], *grid)
    return [rows[:length] for rows, length in zip(maps, lengths, strict=True)]


def write_attention_maps(
    folder: str,
    decoder: DecoderLike,
    tokenizer: text.Tokenizer,
    grid: tuple[int, int],
    samples: Sequence[Sample],
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
    if not samples or not attention.has_attention(decoder, samples[0].features.shape):
        return {}
    readable = [(sample, image) for sample in samples if len(image := _read(sample))]
    if not readable:
        return {}
    os.makedirs(folder)
    features = [sample.features for sample, _ in readable]
    captions = [sample.caption for sample, _ in readable]
    maps = word_maps(decoder, tokenizer, grid, features, captions)
    written: dict[str, str] = {}
    for number, ((sample, image), weights) in enumerate(zip(readable, maps, strict=True)):
        # Images in several folders may have one name.
        name = f"{number}-{os.path.basename(sample.image_id)}.png"
        path = os.path.join(folder, name)
        plots.draw_attention(image, sample.caption.split()[: len(weights)], weights, path)
        written[sample.image_id] = path
    return written


def _read(sample: Sample) -> np.ndarray:
    """Returns pixels, of height 0 where the caption is empty or the image cannot be read."""
    try:
        if sample.caption.split():
            return np.asarray(thumbnails.load_thumbnail(sample.image_path))
    except thumbnails.ERRORS:
        pass
    return np.zeros((0, 0, 3), np.uint8)
