"""An LSTM language model (Mikolov et al., 2010; Zaremba et al., 2014), which sees no image."""

from __future__ import annotations

import tensorflow as tf
from ml_collections import ConfigDict

from imcap.decoders.base import Dropout, State
from imcap.decoders.lstm import LstmLayers
from imcap.decoders.recurrent import RecurrentDecoder


class LanguageModelDecoder(RecurrentDecoder):
    """A baseline: its scores are what the captions' words alone give; only a decoder that scores
    higher has learned anything from the features."""

    def __init__(
        self,
        config: ConfigDict,
        vocab_size: int,
        channels: int,
        *,
        compute_dtype: str = "float32",
        seed: int = 0,
    ) -> None:
        """See `Decoder`; `channels` is not used."""
        super().__init__(config, vocab_size, channels, compute_dtype=compute_dtype, seed=seed)
        self.lstm = LstmLayers(self)
        self.output_kernel = self.kernel("output_kernel", config.units, config.embedding_size)

    def _start(self, features: tf.Tensor, width: int, dropout: Dropout) -> tuple[State, State]:
        """See `RecurrentDecoder`: of the features only the number of images is used."""
        return {}, self.lstm.zeros([tf.shape(features)[0], width], features.dtype)
