"""The decoders: one interface (`Decoder`), one module per architecture."""

from __future__ import annotations

from ml_collections import ConfigDict

from imcap.decoders.attention import AttentionDecoder
from imcap.decoders.base import NO_DROPOUT, Decoder, Dropout
from imcap.decoders.inject import InjectDecoder

__all__ = ["NO_DROPOUT", "Decoder", "Dropout", "build"]

_DECODERS = {"attention": AttentionDecoder, "inject": InjectDecoder}


def build(
    config: ConfigDict, vocab_size: int, channels: int, compute_dtype: str = "float32"
) -> Decoder:
    """Builds the decoder that a config's `model` part names; see `Decoder`."""
    return _DECODERS[config.decoder](config, vocab_size, channels, compute_dtype)
