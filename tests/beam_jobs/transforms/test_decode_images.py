"""Images read and decoded ahead."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import landscapes
import numpy as np
import pytest
from ml_collections import ConfigDict

from beam_jobs.transforms.decode_images import Decoded, decode_ahead
from imcap import images
from imcap.datasets import CaptionedImage, Problems, build_reader


@pytest.fixture
def config(tmp_path):
    return landscapes.make_records_config(tmp_path, landscapes.write_images(tmp_path / "data"))


def decode(rows: Iterable[CaptionedImage], config: ConfigDict) -> Iterator[Decoded]:
    """Reads ahead two batches at most."""
    encoder = config.encoder
    return decode_ahead(rows, encoder.image_size, encoder.max_pixels, 2 * encoder.batch_size)


def row(path: object) -> CaptionedImage:
    return CaptionedImage("an id", str(path), ("Hi",), "dev")


def test_images_come_in_order_with_failures_in_their_place(config):
    rows = list(build_reader(config.dataset).read(Problems()))
    rows.insert(3, row(os.path.join(config.dataset.dir, "gone.jpg")))
    found = list(decode(rows, config))
    assert [decoded.row for decoded in found] == rows
    assert found[3].image is None
    for decoded in found[:3] + found[4:]:
        image_bytes = Path(decoded.row.path).read_bytes()
        np.testing.assert_array_equal(decoded.image, images.load(image_bytes, 32, 10**6))


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("gone.jpg", None, "No such file or directory"),
        ("folder", "folder", "Is a directory"),
        ("nul\0.jpg", None, "embedded null byte"),
        ("empty.jpg", b"", "an empty file"),
        ("words.jpg", b"words " * 50, "not a JPEG, PNG, GIF, BMP or WebP image"),
        ("cut.jpg", b"\xff\xd8\xff\xe0" + bytes(60), "Invalid JPEG data"),
    ],
)
def test_a_bad_image_comes_with_its_reason(config, tmp_path, name, content, reason):
    if content == "folder":
        (tmp_path / name).mkdir()
    elif content is not None:
        (tmp_path / name).write_bytes(content)
    (decoded,) = decode([row(tmp_path / name)], config)
    assert decoded.image is None
    assert reason in decoded.reason
    assert "\n" not in decoded.reason


def test_reading_begins_at_once_and_two_batches_ahead_at_most(config):
    taken = []
    (good, *_) = build_reader(config.dataset).read(Problems())
    found = decode((taken.append(n) or good for n in range(100)), config)
    assert len(taken) == 2 * config.encoder.batch_size
    for count in range(1, 4):
        next(found)
        assert len(taken) == 2 * config.encoder.batch_size + count


def test_all_shards_share_the_same_few_threads(config):
    rows = list(build_reader(config.dataset).read(Problems()))
    before = threading.active_count()
    together = [decode(rows, config) for _ in range(5)]
    assert threading.active_count() <= before + (os.cpu_count() or 1)
    assert [len(list(found)) for found in together] == [len(rows)] * 5
