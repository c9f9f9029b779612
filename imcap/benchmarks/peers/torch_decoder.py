"""The attention decoder as it is written in PyTorch: a loop over the words of a caption.

Every step embeds the words, attends to the image and calls an `LSTMCell` (Xu et al., 2015). The
sizes, the products and the places of dropout are those of `imcap.decoders.attention`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional as F

PAD = 0  # As in imcap.text, which imports TensorFlow.


class AttentionDecoder(nn.Module):
    """An LSTM with soft attention over the image's positions."""

    def __init__(self, model: Mapping[str, float], vocab_size: int, channels: int) -> None:
        """Creates the weights.

        Args:
          model: a config's `model` part; units, embedding_size and the rates of dropout are read.
          vocab_size: number of token ids.
          channels: of the features.
        """
        super().__init__()
        units, size = int(model["units"]), int(model["embedding_size"])
        self.project = nn.Linear(channels, units)
        self.initial = nn.Linear(units, 2 * units, bias=False)
        self.embedding = nn.Embedding(vocab_size, size)
        self.query_gate = nn.Linear(units, 2 * units, bias=False)
        self.cell = nn.LSTMCell(size + units, units)
        self.output = nn.Linear(2 * units + size, size, bias=False)
        self.logits = nn.Linear(size, vocab_size)
        self.logits.weight = self.embedding.weight
        nn.init.normal_(self.embedding.weight, std=0.05)
        self.drop_features = nn.Dropout(model["feature_dropout"])
        self.drop_words = nn.Dropout(model["embedding_dropout"])
        self.dropout = nn.Dropout(model["dropout"])

    def forward(
        self, features: torch.Tensor, tokens: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the logits of all words but padding, and the words, in the same order.

        Args:
          features: float32 [images, positions, channels].
          tokens: int64 [images, width, length], START first, 0 after the last word.

        Returns:
          float32 [words, vocab_size] and int64 [words].
        """
        images, width, length = tokens.shape
        values = self.drop_features(F.relu(self.project(features)))
        hidden, cell = torch.tanh(self.initial(values.mean(dim=1))).chunk(2, dim=-1)
        hidden = hidden.repeat_interleave(width, dim=0)
        cell = cell.repeat_interleave(width, dim=0)
        captions = tokens.reshape(images * width, length)
        vectors, targets = [], []
        for step in range(length - 1):
            words = self.drop_words(self.embedding(captions[:, step]))
            context = self.attend(values, hidden)
            hidden, cell = self.cell(torch.cat([words, context], dim=-1), (hidden, cell))
            is_word = captions[:, step + 1] != PAD
            known = torch.cat([self.dropout(hidden), context, words], dim=-1)[is_word]
            vectors.append(self.dropout(torch.tanh(self.output(known))))
            targets.append(captions[is_word, step + 1])
        return self.logits(torch.cat(vectors)), torch.cat(targets)

    def attend(self, values: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """Returns the gated contexts [captions, units] of hidden states [captions, units], for
        values [images, positions, units]; an image's captions are adjacent."""
        images, _, units = values.shape
        query, gate = self.query_gate(hidden).chunk(2, dim=-1)
        scores = query.reshape(images, -1, units) @ values.transpose(1, 2) / math.sqrt(units)
        context = torch.softmax(scores, dim=-1) @ values
        return context.reshape(-1, units) * torch.sigmoid(gate)
