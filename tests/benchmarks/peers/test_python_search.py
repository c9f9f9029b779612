"""The Python loop over steps and beams finds the captions of the search in the graph."""

from __future__ import annotations

import numpy as np
import pytest
from ml_collections import ConfigDict
from small_decoders import BATCH, make_decoder, make_features

from imcap.benchmarks.peers.python_search import CaptionGenerator
from imcap.decoding import beam_search
from imcap.text import END, PAD


@pytest.mark.parametrize("kind", ["attention", "language_model"])
@pytest.mark.parametrize("ngram", [0, 1, 3])
def test_the_loop_finds_the_captions_of_the_search(kind, ngram):
    decode = ConfigDict({
        "beam_size": 4, "length_penalty": 0.7, "max_length": 6, "no_repeat_ngram": ngram
    })  # fmt: skip
    decoder, features = make_decoder(kind, layers=2), make_features()
    found = beam_search.search(decoder, features, decode)
    generator = CaptionGenerator(decoder, decode)
    for image in range(BATCH):
        captions = generator.caption(features[image : image + 1])
        rows = [row[row != PAD].tolist() for row in found.tokens[image].numpy()]
        assert [list(caption.tokens) for caption in captions] == rows
        assert all(caption.is_finished and caption.tokens[-1] == END for caption in captions)
        ranks = [caption.rank for caption in captions]
        np.testing.assert_allclose(ranks, found.ranks[image], atol=1e-5)
