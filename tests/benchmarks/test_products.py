"""The operations of a decoder's matrix products."""

from __future__ import annotations

import pytest

from imcap import config as config_lib
from imcap.benchmarks import products

VOCABULARY, POSITIONS, CHANNELS = 100, 9, 24
UNITS, SIZE = 8, 6


def model(decoder, **settings):
    config = config_lib.model_defaults()
    config.update({"decoder": decoder, "units": UNITS, "embedding_size": SIZE, **settings})
    return config


@pytest.mark.parametrize("heads", [1, 4])
def test_the_products_of_attention_are_those_of_its_kernels_and_the_positions(heads):
    count = products.count(model("attention", heads=heads), VOCABULARY, POSITIONS, CHANNELS)
    projection = POSITIONS * CHANNELS * UNITS
    assert count.per_image == 2 * (projection + UNITS * 2 * UNITS)
    attend = 2 * POSITIONS * UNITS  # Scores, then the weighted sum.
    lstm = SIZE * 4 * UNITS + 2 * UNITS * 4 * UNITS
    output = (2 * UNITS + SIZE) * SIZE + SIZE * VOCABULARY
    assert count.per_word == 2 * (UNITS * 2 * UNITS + attend + lstm + output)


def test_a_decoder_without_an_image_has_products_of_words_alone():
    count = products.count(model("language_model", layers=2), VOCABULARY, POSITIONS, CHANNELS)
    assert count.per_image == 0
    layers = (SIZE + UNITS) * 4 * UNITS + 2 * UNITS * 4 * UNITS
    assert count.per_word == 2 * (layers + UNITS * SIZE + SIZE * VOCABULARY)
