"""The encoder as one graph: the same features in every batch size, flipped views, dtypes."""

from __future__ import annotations

import landscapes
import numpy as np
import pytest
from ml_collections import ConfigDict

from beam_jobs.transforms import encoder_graph
from beam_jobs.transforms.encoder_graph import EncoderGraph


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
    (together,) = encode(images(9), flip=False)
    for count in (1, 2, 6):
        (some,) = encode(images(count), flip=False)
        np.testing.assert_array_equal(some, together[:count])


def test_the_second_view_is_of_the_flipped_image(encoder):
    encode = EncoderGraph(encoder, "float16")
    (image,) = images(1)
    features, flipped = encode([image], flip=True)
    np.testing.assert_array_equal(flipped, encode([image[:, ::-1]], flip=False)[0])
    assert (features != flipped).any()


def test_bfloat16_gives_nearly_the_same_features(encoder):
    (exact,) = EncoderGraph(encoder, "float32")(images(4), flip=False)
    try:
        encoder_graph.prepare_process("bfloat16")
        (rounded,) = EncoderGraph(encoder, "float32")(images(4), flip=False)
    finally:
        encoder_graph.prepare_process("float32")
    error = np.linalg.norm(exact - rounded) / np.linalg.norm(exact)
    assert 1e-5 < error < 0.05
