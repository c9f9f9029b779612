"""The decoders: one interface (`base.Decoder`), one module per architecture.

A further decoder is a module with a subclass of `Decoder` and a line in `DECODERS`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml_collections import ConfigDict

from imcap.registry import Registry

if TYPE_CHECKING:
    from imcap.decoders.base import Decoder
    from imcap.decoders.word_vectors import WordVectors

DECODERS = Registry(
    "config.model.decoder",
    {
        "attention": "imcap.decoders.attention:AttentionDecoder",
        "inject": "imcap.decoders.inject:InjectDecoder",
        "merge": "imcap.decoders.merge:MergeDecoder",
        "language_model": "imcap.decoders.language_model:LanguageModelDecoder",
    },
)


def build(
    config: ConfigDict,
    vocab_size: int,
    channels: int,
    *,
    compute_dtype: str = "float32",
    seed: int = 0,
    vectors: WordVectors | None = None,
) -> Decoder:
    """Builds the decoder that a config's `model` part names; see `Decoder` for the arguments.

    `vectors`: of the words whose rows of the embedding do not start from random values.

    Raises:
      UserError: there is no decoder of that name.
    """
    build_decoder = DECODERS.load(config.decoder)
    decoder = build_decoder(config, vocab_size, channels, compute_dtype=compute_dtype, seed=seed)
    if vectors is not None:
        decoder.embedding.assign(vectors.replace_rows(decoder.embedding))
    return decoder
