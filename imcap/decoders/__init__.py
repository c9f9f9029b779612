"""The decoders: one interface (`base.Decoder`), one module per architecture.

A further decoder is a module with a subclass of `Decoder` and a line in `DECODERS`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml_collections import ConfigDict

from imcap.registry import Registry

if TYPE_CHECKING:
    from imcap.decoders.base import Decoder

DECODERS = Registry(
    "config.model.decoder",
    {
        "attention": "imcap.decoders.attention:AttentionDecoder",
        "inject": "imcap.decoders.inject:InjectDecoder",
    },
)


def build(
    config: ConfigDict,
    vocab_size: int,
    channels: int,
    *,
    compute_dtype: str = "float32",
    seed: int = 0,
) -> Decoder:
    """Builds the decoder that a config's `model` part names; see `Decoder` for the arguments.

    Raises:
      UserError: there is no decoder of that name.
    """
    decoder = DECODERS.load(config.decoder)
    return decoder(config, vocab_size, channels, compute_dtype=compute_dtype, seed=seed)
