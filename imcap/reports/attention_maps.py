"""Pictures of where a decoder looked for each word of its captions."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from imcap import images, records, text
from imcap.decoders.base import NO_DROPOUT, Decoder
from imcap.reports import plots

_SIDE = 224  # Pixels of the photo in the picture.


def look(decoder: Decoder, features: tf.Tensor, tokens: Sequence[int]) -> np.ndarray | None:
    """Returns where a decoder looks while it says a caption.

    Args:
      decoder: any; one without attention gives None.
      features: [positions, channels] of one image.
      tokens: the caption's ids without START, END or not.

    Returns:
      float32 [len(tokens), positions], each row adding up to 1.
    """
    memory, carry = decoder.start(features[tf.newaxis], 1, NO_DROPOUT)
    weights = []
    for token in [text.START, *tokens[:-1]]:
        _, carry = decoder.step(tf.constant([[token]]), memory, carry)
        if "attention" not in carry:
            return None
        weights.append(carry["attention"][0, 0].numpy())
    return np.stack(weights)


def write(
    folder: str,
    decoder: Decoder,
    tokenizer: text.Tokenizer,
    info: records.Info,
    samples: Sequence[tuple[str, str, tf.Tensor, str]],
) -> list[str]:
    """Draws one picture per sample: the photo, and for each word what was looked at.

    Args:
      folder: made if missing.
      decoder: one with attention; for others nothing is drawn.
      tokenizer: of the caption.
      info: of the records, for the grid of the positions.
      samples: image_id, path of the photo, features [positions, channels], caption.

    Returns:
      The files written: a sample whose photo cannot be read is left out.
    """
    written = []
    for image_id, path, features, caption in samples:
        tokens = tokenizer.encode([caption])[0][1:]
        weights = look(decoder, features, tokens.tolist())
        if weights is None or not os.path.isfile(path) or len(tokens) < 2:
            continue
        os.makedirs(folder, exist_ok=True)
        maps = weights.reshape(len(weights), *info.feature_grid)
        words = caption.split()
        target = os.path.join(folder, os.path.basename(image_id) + ".png")
        plots.attention(_photo(path), words, maps[: len(words)], target)
        written.append(target)
    return written


def _photo(path: str) -> np.ndarray:
    image = images.load(tf.io.read_file(path), _SIDE)
    return tf.cast(tf.round(image), tf.uint8).numpy()
