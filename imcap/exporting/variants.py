"""Variants of an export: in which dtypes a SavedModel holds its weights and computes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf
from absl import logging
from ml_collections import ConfigDict

from imcap.encoders import compute_dtype
from imcap.encoders.encoder import Encoder
from imcap.exporting.export_check import EXACT, ROUNDED, Tolerance
from imcap.exporting.half_weights import HalvedModel
from imcap.serving.caption_model import CaptionModel

_FLOAT32 = "float32"


class Variant(NamedTuple):
    """The dtypes of a SavedModel.

    Attributes:
      compute_dtype: of the encoder's convolutions, and of their kernels in its files where it is
        not float32; all else is float32.
      weights_dtype: of the other kernels in its files.
    """

    compute_dtype: str = _FLOAT32
    weights_dtype: str = _FLOAT32

    def describe(self) -> str:
        """Returns one line for MODEL_CARD.md."""
        if self == Variant():
            return "stored and computed as float32"
        is_exact = self.compute_dtype == _FLOAT32
        computed = "all" if is_exact else f"convolutions in {self.compute_dtype}, all else"
        return f"kernels stored as {self._stored()}; {computed} computed in float32"

    def _stored(self) -> str:
        if self.compute_dtype in (_FLOAT32, self.weights_dtype):
            return self.weights_dtype
        return f"{self.weights_dtype}, those of convolutions as {self.compute_dtype}"

    def tolerance(self) -> Tolerance:
        """Returns how far its captions and scores may be from the checkpoint's."""
        return EXACT if self == Variant() else ROUNDED


def choose(config: ConfigDict, encoder: Encoder, batch_size: int) -> Variant:
    """Returns the variant that a config's `export` part asks for; `auto` measures here.

    Args:
      config: the part.
      encoder: of the captioner.
      batch_size: images at a time that `auto` measures with.
    """
    name, reason = compute_dtype.choose(config.compute_dtype, encoder.network, batch_size)
    if config.compute_dtype == "auto":
        logging.info("config.export.compute_dtype=%s (%s)", name, reason)
    return Variant(name, config.weights_dtype)


def build(
    variant: Variant,
    model: CaptionModel,
    encoder: Encoder,
    with_encoder: Callable[[Callable[[tf.Tensor], tf.Tensor]], CaptionModel],
) -> CaptionModel | HalvedModel:
    """Returns what `tf.saved_model.save` takes.

    Args:
      variant: that is wanted.
      model: the captioner; it is returned where all is float32, and stays as it is otherwise.
      encoder: its encoder.
      with_encoder: builds the captioner with an encoder.
    """
    if variant == Variant():
        return model
    is_exact = variant.compute_dtype == _FLOAT32
    changed = with_encoder(encoder if is_exact else compute_dtype.Bfloat16Encoder(encoder))
    return changed if variant.weights_dtype == _FLOAT32 else HalvedModel(changed)
