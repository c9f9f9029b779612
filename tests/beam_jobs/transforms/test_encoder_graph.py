"""The encoder as one graph: the same features in every batch size, further views, dtypes."""

from __future__ import annotations

import landscapes
import numpy as np
import pytest
from ml_collections import ConfigDict

from beam_jobs.transforms import encoder_graph
from beam_jobs.transforms.encoder_graph import EncoderGraph
from imcap import records


@pytest.fixture
def encoder(tmp_path) -> ConfigDict:
    """A config's `encoder` part."""
    return landscapes.make_records_config(tmp_path, tmp_path).encoder


def images(count: int) -> list[np.ndarray]:
    return [np.float32(landscapes.draw(seed, (32, 32))) for seed in range(count)]


@pytest.mark.parametrize("count", range(1, 40))
def test_a_rest_is_encoded_in_batches_of_few_sizes(count):
    sizes = encoder_graph.part_sizes(count, 12)
    assert sum(sizes) == count
    assert set(sizes) <= {12, 8, 4, 2, 1}
    assert sizes == sorted(sizes, reverse=True)


def test_features_do_not_depend_on_the_size_of_the_batch(encoder):
    encode = EncoderGraph(encoder, "float16")
    (together,) = encode(images(9))
    for count in (1, 2, 6):
        (some,) = encode(images(count))
        np.testing.assert_array_equal(some, together[:count])


def test_views_are_of_the_image_the_flipped_one_and_its_crops(encoder):
    encode = EncoderGraph(encoder, "float16")
    image, first, second = images(3)
    crops = [np.uint8(first), np.uint8(second)]
    for flip, expected in (
        (True, [image, image[:, ::-1], first, second]),
        (False, [image, first, second]),
    ):
        keys = records.Views(flip=flip, crops=2).keys("train")
        for view, pixels in zip(encode([image], [crops], keys), expected, strict=True):
            np.testing.assert_array_equal(view, encode([pixels])[0])
    assert (encode([image])[0] != encode([image[:, ::-1]])[0]).any()


def test_bfloat16_gives_nearly_the_same_features(encoder):
    (exact,) = EncoderGraph(encoder, "float32")(images(4))
    try:
        encoder_graph.prepare_process("bfloat16")
        (rounded,) = EncoderGraph(encoder, "float32")(images(4))
    finally:
        encoder_graph.prepare_process("float32")
    error = np.linalg.norm(exact - rounded) / np.linalg.norm(exact)
    assert 1e-5 < error < 0.05
