"""The folder of an exported version: the SavedModel and what belongs to it."""

from __future__ import annotations

import os
from typing import Any, Protocol

import tensorflow as tf
from ml_collections import ConfigDict

from imcap import filesystem, records
from imcap.decoders.base import DecoderLike
from imcap.exporting import CARD
from imcap.serving import model_metadata, warmup_requests


class _Saved(Protocol):
    def signatures(self) -> dict[str, Any]:
        """See `CaptionModel.signatures`."""


def describe(info: records.Info, decode: ConfigDict, decoder: DecoderLike) -> dict[str, Any]:
    """Returns what an exported version says of itself: how images are prepared and captions found.

    Args:
      info: the records' info.json.
      decode: a config's `decode` part.
      decoder: what gives the captions.
    """
    tuned = decoder.describe_encoding()
    return {
        "vocabulary_digest": info.vocabulary_digest,
        # A network's file is named without the folders of the machine that exported it.
        "encoder": {**info.encoder, "name": os.path.basename(info.encoder["name"])},
        "preprocessing": info.preprocessing,
        "feature_dtype": info.feature_dtype,
        "decode": decode.to_dict(),
        **({"tuned": tuned} if tuned else {}),
    }


def fill(folder: str, saved: _Saved, metadata: dict[str, Any]) -> None:
    """Writes all but the card into a folder that is empty or does not exist.

    Gradients are left out: TensorFlow keeps those of a loaded model, and its graphs, for ever.

    Args:
      folder: of the version.
      saved: what `tf.saved_model.save` takes.
      metadata: as `describe` returns it.
    """
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(saved, folder, signatures=saved.signatures(), options=options)
    path = os.path.join(folder, model_metadata.PATH)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    filesystem.write_json(path, metadata, indent=1)
    image_size = metadata["preprocessing"]["image_size"]
    warmup_requests.write(os.path.join(folder, warmup_requests.PATH), image_size)


def write_card(folder: str, card: str) -> None:
    """Writes MODEL_CARD.md."""
    filesystem.write_text(os.path.join(folder, CARD), card)
