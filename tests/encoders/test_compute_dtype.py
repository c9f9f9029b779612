"""The dtype of convolutions: which one is chosen, and encoders that compute in bfloat16."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import small_encoders
import tensorflow as tf

from imcap import encoders
from imcap.encoders import compute_dtype
from imcap.encoders.compute_dtype import Bfloat16Encoder
from imcap.encoders.encoder import Encoder


def test_convolutions_are_timed_as_the_products_that_they_amount_to():
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 1)(inputs)
    network = keras.Model(inputs, keras.layers.Conv2D(16, 3, strides=2)(x))
    assert compute_dtype.convolution_shapes(network, batch_size=2) == [
        (2 * 3 * 3, 3 * 3 * 4, 16),
        (2 * 8 * 8, 3, 4),
    ]


@pytest.mark.parametrize("requested", ["float32", "bfloat16"])
def test_a_requested_dtype_is_taken_as_it_is(requested):
    network = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 1)])
    assert compute_dtype.choose(requested, network, 8).name == requested


@pytest.fixture(params=["residual", "custom_cnn", "file"])
def encoder(request, tmp_path) -> Encoder:
    if request.param == "residual":
        network = small_encoders.residual_network()
        network = keras.Model(network.inputs, network.layers[-1].input)
        return Encoder(network, tf.identity, small_encoders.SIZE)
    if request.param == "custom_cnn":
        return encoders.build(small_encoders.settings(name="custom_cnn"))
    small_encoders.save_network(tmp_path / "network.keras")
    return encoders.build(small_encoders.settings(name=str(tmp_path / "network.keras")))


def test_features_in_bfloat16_differ_by_rounding(encoder):
    images = small_encoders.images()
    exact = encoder(images)
    rounded = Bfloat16Encoder(encoder)(images)
    assert rounded.dtype == exact.dtype == tf.float32 and rounded.shape == exact.shape
    error = np.linalg.norm(exact - rounded) / np.linalg.norm(exact)
    assert 1e-5 < error < 0.02
    np.testing.assert_array_equal(encoder(images), exact)  # It is left as it was.


def test_no_call_casts_a_kernel(encoder):
    converted = Bfloat16Encoder(encoder)
    spec = tf.TensorSpec([None, small_encoders.SIZE, small_encoders.SIZE, 3])
    graph = tf.function(converted, input_signature=[spec], autograph=False).get_concrete_function()
    kernels = [variable for variable in graph.graph.variables if variable.shape.rank == 4]
    assert kernels and {variable.dtype for variable in kernels} == {tf.bfloat16}
