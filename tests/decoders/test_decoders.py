"""The decoders: one interface, so one specification for all of them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf
from small_decoders import (
    BATCH,
    CHANNELS,
    LENGTH,
    VOCABULARY,
    WIDTH,
    make_decoder,
    make_features,
    make_tokens,
    stepped,
    teacher_forced,
)

from imcap import config as config_lib
from imcap import decoders
from imcap.config import checks
from imcap.decoders import DECODERS
from imcap.decoders.base import NO_DROPOUT, Dropout
from imcap.errors import UserError

SEEING_NO_IMAGE = ("language_model",)
LAYERED = {"layers": 2, "tie_embeddings": False}
RELU_BIASES = {"projection_bias": 1.0, "merge_bias": 5.0}  # So large that no ReLU is dead.
# Whatever is in the registry is tested.
KINDS = pytest.mark.parametrize(
    ("kind", "settings"),
    [
        *((kind, {}) for kind in DECODERS),
        ("attention", {"heads": 4, **LAYERED}),
        ("attention", {"separate_keys": True, "normalize_features": True}),
    ],
)
KINDS_AND_SETTINGS = pytest.mark.parametrize(
    ("kind", "settings"), [*itertools.product(DECODERS, ({}, LAYERED)), ("attention", {"heads": 4})]
)


@KINDS_AND_SETTINGS
def test_teacher_forcing_equals_stepping(kind, settings):
    decoder, features, tokens = make_decoder(kind, **settings), make_features(), make_tokens()
    logits = stepped(decoder, features, tokens)
    assert logits.dtype == np.float32
    assert logits.shape == (BATCH, WIDTH, LENGTH, VOCABULARY)
    np.testing.assert_allclose(teacher_forced(decoder, features, tokens), logits, atol=1e-5)
    assert np.ptp(logits, axis=2).max() > 0.5  # Words change what comes next.


@KINDS
def test_logits_depend_on_every_earlier_word(kind, settings):
    decoder, features, tokens = make_decoder(kind, **settings), make_features(), make_tokens()
    changed = tokens.copy()
    changed[:, :, 1] = 3 + (changed[:, :, 1] - 2) % (VOCABULARY - 3)
    logits = teacher_forced(decoder, features, tokens)
    difference = np.abs(teacher_forced(decoder, features, changed) - logits).max(axis=(0, 1, 3))
    assert difference[0] == 0
    assert difference[1:].min() > 1e-4


@KINDS
def test_logits_depend_on_the_image_unless_the_decoder_sees_none(kind, settings):
    decoder, tokens = make_decoder(kind, **settings), make_tokens()
    one, other = (teacher_forced(decoder, make_features(seed), tokens) for seed in (0, 1))
    difference = np.abs(other - one).max(axis=(1, 3))
    if kind in SEEING_NO_IMAGE:
        assert difference.max() == 0
    else:
        assert difference.min() > 1e-4


@KINDS
def test_captions_and_images_of_a_batch_are_independent(kind, settings):
    decoder, features, tokens = make_decoder(kind, **settings), make_features(), make_tokens()
    together = teacher_forced(decoder, features, tokens)
    for image in range(BATCH):
        for caption in range(WIDTH):
            part = np.s_[image : image + 1, caption : caption + 1]
            alone = teacher_forced(decoder, features[image : image + 1], tokens[part])
            np.testing.assert_allclose(alone, together[part], atol=1e-5)


@KINDS
def test_padding_changes_nothing_before_it(kind, settings):
    decoder, features, tokens = make_decoder(kind, **settings), make_features(), make_tokens()
    padded = np.pad(tokens, [(0, 0), (0, 0), (0, 5)])
    found = teacher_forced(decoder, features, padded)[:, :, :LENGTH]
    np.testing.assert_allclose(found, teacher_forced(decoder, features, tokens), atol=1e-6)


@KINDS
def test_captions_of_different_lengths_equal_those_alone(kind, settings):
    decoder, features, tokens = make_decoder(kind, **settings), make_features(), make_tokens()
    lengths = np.random.default_rng(0).integers(0, LENGTH + 1, tokens.shape[:2])
    ragged = np.where(np.arange(LENGTH) < lengths[..., np.newaxis], tokens, 0)
    found = teacher_forced(decoder, features, ragged)
    expected = teacher_forced(decoder, features, tokens)
    np.testing.assert_allclose(found[ragged > 0], expected[ragged > 0], atol=1e-5)


@pytest.mark.parametrize("kind", list(DECODERS))
def test_weight_drop_is_of_training_only(kind):
    decoder, features, tokens = make_decoder(kind, weight_drop=0.5), make_features(), make_tokens()
    for name in ("dropout", "embedding_dropout", "feature_dropout"):
        decoder.config[name] = 0.0
    exact = stepped(decoder, features, tokens)
    np.testing.assert_allclose(teacher_forced(decoder, features, tokens), exact, atol=1e-5)
    one, other, again = (
        teacher_forced(decoder, features, tokens, Dropout(tf.constant(seed)))
        for seed in ([1, 2], [3, 4], [1, 2])
    )
    np.testing.assert_array_equal(one, again)
    # The first word's logits of some decoders come from a zero state.
    assert np.abs(one - exact)[:, :, 1:].max() > 0.1
    assert np.abs(one - other)[:, :, 1:].max() > 0.1


@KINDS
def test_graph_equals_eager(kind, settings):
    decoder, features, tokens = make_decoder(kind, **settings), make_features(), make_tokens()

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None, CHANNELS]),
            tf.TensorSpec([None, None, None], tf.int32),
        ],
        autograph=False,
    )
    def graph(features, tokens):
        memory, carry = decoder.start(features, tf.shape(tokens)[1], NO_DROPOUT)
        step_logits, _ = decoder.step(tokens[:, :, 0], memory, carry)
        return decoder.logits(decoder.output_vectors(features, tokens, NO_DROPOUT)), step_logits

    forced, step_logits = graph(features, tf.constant(tokens))
    np.testing.assert_allclose(forced, teacher_forced(decoder, features, tokens), atol=1e-6)
    np.testing.assert_allclose(step_logits, forced[:, :, 0], atol=1e-5)


@KINDS
def test_bfloat16_is_close_to_float32(kind, settings):
    features, tokens = make_features(), make_tokens()
    exact = teacher_forced(make_decoder(kind, **settings), features, tokens)
    decoder = make_decoder(kind, compute_dtype="bfloat16", **settings)
    logits = teacher_forced(decoder, features, tokens)
    assert logits.dtype == np.float32
    assert all(weight.dtype == "float32" for weight in decoder.weights)
    assert 0 < np.abs(logits - exact).max() < 0.03 * np.ptp(exact)
    # Decoding is float32 whatever training is.
    np.testing.assert_allclose(stepped(decoder, features, tokens), exact, atol=1e-5)


@KINDS
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_features_of_any_float_dtype(kind, settings, dtype):
    decoder, tokens = make_decoder(kind, **settings), make_tokens()
    features = tf.cast(make_features(), dtype)
    expected = teacher_forced(decoder, tf.cast(features, tf.float32), tokens)
    np.testing.assert_array_equal(teacher_forced(decoder, features, tokens), expected)
    np.testing.assert_allclose(stepped(decoder, features, tokens), expected, atol=1e-5)


@KINDS
def test_gradients_of_every_weight_equal_the_slopes(kind, settings):
    decoder, features, tokens = make_decoder(kind, **settings), make_features(), make_tokens()
    for weight in decoder.weights:
        if weight.name in RELU_BIASES:
            weight.assign(tf.abs(weight) + RELU_BIASES[weight.name])
    rng = np.random.default_rng(0)

    @tf.function(autograph=False)
    def loss() -> tf.Tensor:
        logits = decoder.logits(decoder.output_vectors(features, tf.constant(tokens), NO_DROPOUT))
        return tf.reduce_mean(tf.nn.log_softmax(logits)[..., 3])

    with tf.GradientTape() as tape:
        value = loss()
    gradients = tape.gradient(value, [weight.value for weight in decoder.trainable_variables])
    assert len(gradients) == len(decoder.weights)
    for weight, gradient in zip(decoder.trainable_variables, gradients, strict=True):
        gradient, before = tf.convert_to_tensor(gradient).numpy(), weight.numpy()
        assert (np.abs(gradient).reshape(-1, gradient.shape[-1]).max(0) > 0).all(), weight.name
        step = 1e-2 * np.where(rng.random(before.shape) < 0.5, 1, -1)
        weight.assign(before + step)
        above = float(loss())
        weight.assign(before - step)
        slope = (above - float(loss())) / 2
        weight.assign(before)
        assert slope == pytest.approx(np.sum(gradient * step), rel=0.02, abs=1e-5), weight.name


def initial_weights(kind: str, seed: int, **settings: object) -> dict[str, np.ndarray]:
    config = config_lib.model_defaults()
    config.update(decoder=kind, units=8, embedding_size=8, **settings)
    weights = decoders.build(config, VOCABULARY, 8, seed=seed).weights
    return {weight.name: weight.numpy() for weight in weights}


@pytest.mark.parametrize("kind", list(DECODERS))
def test_the_seed_decides_the_initial_weights(kind):
    first, again, other = (initial_weights(kind, seed, **LAYERED) for seed in (1, 1, 2))
    for name, values in first.items():
        np.testing.assert_array_equal(again[name], values, err_msg=name)
        is_bias = values.ndim == 1
        assert (other[name] == values).all() == is_bias, name


@pytest.mark.parametrize("kind", list(DECODERS))
def test_weights_of_equal_shape_start_with_different_values(kind):
    weights = initial_weights(kind, 0, **LAYERED)
    kernels = [values for values in weights.values() if values.ndim == 2]
    for one, other in itertools.combinations(kernels, 2):
        assert one.shape != other.shape or (one != other).all()


def test_initial_weights_of_a_seed_stay_the_same():
    weights = initial_weights("attention", 0)
    found = {name: weights[name][0, 0] for name in ("embedding", "query_kernel")}
    assert found == pytest.approx({"embedding": -1.45957e-3, "query_kernel": -0.133702}, rel=1e-4)


FIRST_LAYER = ["word_kernel", "recurrent_kernel", "lstm_bias"]
PROJECTION = ["projection_kernel", "projection_bias"]


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("attention", [*PROJECTION, "init_kernel", "query_kernel", *FIRST_LAYER, "output_kernel"]),
        ("inject", [*PROJECTION, *FIRST_LAYER, "output_kernel"]),
        ("merge", [*PROJECTION, *FIRST_LAYER, "output_kernel", "merge_bias"]),
        ("language_model", [*FIRST_LAYER, "output_kernel"]),
    ],
)
def test_checkpoints_of_one_layer_have_these_weights_in_this_order(kind, names):
    """Decoder weights are stored by their names, the optimizer's by their order."""
    assert list(initial_weights(kind, 0)) == ["embedding", "output_bias", *names]


@pytest.mark.parametrize("kind", list(DECODERS))
def test_further_layers_and_an_output_kernel_change_no_other_weight(kind):
    one, further = initial_weights(kind, 0), initial_weights(kind, 0, **LAYERED)
    added = {"word_kernel_2", "recurrent_kernel_2", "lstm_bias_2", "logits_kernel"}
    assert further.keys() - one.keys() == added
    for name, values in one.items():
        np.testing.assert_array_equal(further[name], values, err_msg=name)


def test_a_decoder_is_added_by_one_file_and_one_registry_line():
    config = config_lib.default()
    config.model.decoder = "mean"
    with DECODERS.registered("mean", "mean_decoder:MeanDecoder"):
        checks.validate(config)
        decoder = make_decoder("mean", tie_embeddings=False)
    tokens, features = make_tokens(), make_features()
    expected = stepped(decoder, features, tokens)
    np.testing.assert_allclose(teacher_forced(decoder, features, tokens), expected, atol=1e-5)


def test_an_unknown_decoder_is_refused_with_the_nearest_name():
    config = config_lib.model_defaults()
    config.decoder = "atention"
    with pytest.raises(UserError, match=r"config\.model\.decoder='atention'.*mean attention\?"):
        decoders.build(config, VOCABULARY, CHANNELS)


@KINDS
def test_dropout_in_a_decoder_depends_on_its_seed_only(kind, settings):
    decoder, features, tokens = make_decoder(kind, **settings), make_features(), make_tokens()

    def with_seed(*seed: int) -> np.ndarray:
        return teacher_forced(decoder, features, tokens, Dropout(tf.constant(seed)))

    np.testing.assert_array_equal(with_seed(1, 2), with_seed(1, 2))
    without = teacher_forced(decoder, features, tokens)
    for other in (with_seed(1, 3), with_seed(2, 2), without):
        assert np.abs(with_seed(1, 2) - other).max() > 0.1
