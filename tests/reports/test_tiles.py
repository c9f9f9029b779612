"""Tiles: an image, its caption, and the attention weights of each word."""

from __future__ import annotations

import numpy as np
import pytest

from imcap.reports.tiles import draw_tiles

IMAGE = np.full((30, 40, 3), 90, np.uint8)


@pytest.mark.parametrize(("words", "columns", "rows"), [(1, 2, 1), (5, 6, 1), (6, 6, 2)])
def test_every_word_has_a_tile(words, columns, rows):
    weights = np.full((words, 2, 2), 0.25)
    found = draw_tiles(IMAGE, " ".join(["word"] * words), weights)
    assert found.dtype == np.uint8
    assert found.shape == (18 + rows * (120 + 18), columns * 160, 3)


def test_large_weights_are_bright():
    weights = np.array([[[1.0, 0.0], [0.0, 0.0]]])
    tile = draw_tiles(IMAGE, "sky", weights)[36:, 160:].astype(int).sum(-1)
    assert tile[:40, :50].mean() > 1.2 * tile[-40:, -50:].mean()


def test_without_weights_the_image_stands_alone_under_its_caption():
    found = draw_tiles(IMAGE, "a long caption of more words than a line of it can hold")
    assert found.shape[1] == 160
    assert (found[-100:] == 90).all()
    assert (found[:36] < 128).any()  # Letters.
    assert draw_tiles(IMAGE, "").shape[1] == 160
