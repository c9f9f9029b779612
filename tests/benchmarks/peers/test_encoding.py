"""The records job and its peers encode the images that they are given."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from imcap import config as config_lib
from imcap.benchmarks import image_sets, records
from imcap.benchmarks.peers import encoding


@pytest.fixture
def image_dir(tmp_path):
    """A folder of two images."""
    folder = tmp_path / "source"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ("a.jpg", "b.jpg"):
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)).save(folder / name)
    return folder


@pytest.fixture
def encoder():
    """A small custom_cnn."""
    settings = config_lib.default().encoder
    settings.name, settings.weights, settings.stages = "custom_cnn", "", 1
    return settings


def test_the_measured_peers_are_those_that_are_compared():
    assert tuple(encoding.CONTENDERS) == records.CONTENDERS


@pytest.mark.parametrize("peer", records.CONTENDERS)
def test_every_peer_encodes_all_images(image_dir, encoder, tmp_path, peer):
    folder = str(tmp_path / "data")
    image_sets.link_images(str(image_dir), 6, folder)
    found = encoding.CONTENDERS[peer](folder, encoder, 6)
    assert found["total_seconds"] > found["startup_seconds"] > 0


def test_drawn_images_differ_and_go_through_the_records_job(encoder, tmp_path):
    image_sets.draw_images(str(tmp_path), 12)
    image_sets.write_drawn_table(str(tmp_path), 12)
    assert len({path.read_bytes() for path in tmp_path.rglob("*.png")}) == 12
    encoder.image_size = image_sets.DRAWN_SIZE
    found = encoding.CONTENDERS["imcap"](str(tmp_path), encoder, 12)
    assert found["bytes_per_image"] > 0
