"""The decoders: one interface, so one specification for all of them."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from imcap import config as config_lib
from imcap import config_checks, decoders
from imcap.decoders import DECODERS
from imcap.decoders.attention import attend
from imcap.decoders.base import NO_DROPOUT, Decoder, Dropout, lstm
from imcap.errors import UserError
from imcap.text import START

VOCABULARY, CHANNELS, POSITIONS = 13, 5, 6
BATCH, WIDTH, LENGTH = 2, 3, 7
KINDS = pytest.mark.parametrize(
    ("kind", "heads"), [("attention", 1), ("attention", 4), ("inject", 1)]
)


def make_decoder(kind: str, heads: int, compute_dtype: str = "float32") -> Decoder:
    """A small decoder with weights so large that each of them changes the logits."""
    config = config_lib.model_defaults()
    config.update(decoder=kind, heads=heads, units=8, embedding_size=6)
    decoder = decoders.build(config, VOCABULARY, CHANNELS, compute_dtype=compute_dtype)
    rng = np.random.default_rng(7)
    for weight in decoder.weights:
        weight.assign(rng.normal(0, 0.6, weight.shape))
    return decoder


def make_features(seed: int = 0) -> tf.Tensor:
    rng = np.random.default_rng(seed)
    return tf.constant(rng.normal(0, 1, (BATCH, POSITIONS, CHANNELS)), tf.float32)


def make_tokens(seed: int = 0) -> np.ndarray:
    tokens = np.random.default_rng(seed).integers(3, VOCABULARY, (BATCH, WIDTH, LENGTH))
    tokens[..., 0] = START
    return tokens.astype(np.int32)


def teacher_forced(decoder, features, tokens, dropout=NO_DROPOUT) -> np.ndarray:
    """Logits [batch, width, length, vocabulary]."""
    return decoder.logits(decoder.output_vectors(features, tf.constant(tokens), dropout)).numpy()


def stepped(decoder, features, tokens) -> np.ndarray:
    """The same logits, one word at a time."""
    memory, carry = decoder.start(features, tokens.shape[1], NO_DROPOUT)
    logits = []
    for time in range(tokens.shape[2]):
        step_logits, carry = decoder.step(tf.constant(tokens[:, :, time]), memory, carry)
        logits.append(step_logits.numpy())
    return np.stack(logits, axis=2)


@KINDS
def test_teacher_forcing_equals_stepping(kind, heads):
    decoder, features, tokens = make_decoder(kind, heads), make_features(), make_tokens()
    logits = stepped(decoder, features, tokens)
    assert logits.dtype == np.float32
    assert logits.shape == (BATCH, WIDTH, LENGTH, VOCABULARY)
    np.testing.assert_allclose(teacher_forced(decoder, features, tokens), logits, atol=1e-5)
    assert np.ptp(logits, axis=2).max() > 0.5  # Words change what comes next.


@KINDS
def test_logits_depend_on_the_image_and_every_earlier_word(kind, heads):
    decoder, features, tokens = make_decoder(kind, heads), make_features(), make_tokens()
    logits = teacher_forced(decoder, features, tokens)
    other_image = teacher_forced(decoder, make_features(1), tokens)
    assert np.abs(other_image - logits).max(axis=(1, 3)).min() > 1e-4
    changed = tokens.copy()
    changed[:, :, 1] = 3 + (changed[:, :, 1] - 2) % (VOCABULARY - 3)
    difference = np.abs(teacher_forced(decoder, features, changed) - logits).max(axis=(0, 1, 3))
    assert difference[0] == 0
    assert difference[1:].min() > 1e-4


@KINDS
def test_captions_and_images_of_a_batch_are_independent(kind, heads):
    decoder, features, tokens = make_decoder(kind, heads), make_features(), make_tokens()
    together = teacher_forced(decoder, features, tokens)
    for image in range(BATCH):
        for caption in range(WIDTH):
            part = np.s_[image : image + 1, caption : caption + 1]
            alone = teacher_forced(decoder, features[image : image + 1], tokens[part])
            np.testing.assert_allclose(alone, together[part], atol=1e-5)


@KINDS
def test_padding_changes_nothing_before_it(kind, heads):
    decoder, features, tokens = make_decoder(kind, heads), make_features(), make_tokens()
    padded = np.pad(tokens, [(0, 0), (0, 0), (0, 5)])
    found = teacher_forced(decoder, features, padded)[:, :, :LENGTH]
    np.testing.assert_allclose(found, teacher_forced(decoder, features, tokens), atol=1e-6)


@KINDS
def test_graph_equals_eager(kind, heads):
    decoder, features, tokens = make_decoder(kind, heads), make_features(), make_tokens()

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None, CHANNELS]),
            tf.TensorSpec([None, None, None], tf.int32),
        ]
    )
    def graph(features, tokens):
        memory, carry = decoder.start(features, tf.shape(tokens)[1], NO_DROPOUT)
        step_logits, _ = decoder.step(tokens[:, :, 0], memory, carry)
        return decoder.logits(decoder.output_vectors(features, tokens, NO_DROPOUT)), step_logits

    forced, step_logits = graph(features, tf.constant(tokens))
    np.testing.assert_allclose(forced, teacher_forced(decoder, features, tokens), atol=1e-6)
    np.testing.assert_allclose(step_logits, forced[:, :, 0], atol=1e-5)


@KINDS
def test_bfloat16_is_close_to_float32(kind, heads):
    features, tokens = make_features(), make_tokens()
    exact = teacher_forced(make_decoder(kind, heads), features, tokens)
    decoder = make_decoder(kind, heads, "bfloat16")
    logits = teacher_forced(decoder, features, tokens)
    assert logits.dtype == np.float32
    assert all(weight.dtype == "float32" for weight in decoder.weights)
    assert 0 < np.abs(logits - exact).max() < 0.03 * np.ptp(exact)
    # Decoding is float32 whatever training is.
    np.testing.assert_allclose(stepped(decoder, features, tokens), exact, atol=1e-5)


@KINDS
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_features_of_any_float_dtype(kind, heads, dtype):
    decoder, tokens = make_decoder(kind, heads), make_tokens()
    features = tf.cast(make_features(), dtype)
    expected = teacher_forced(decoder, tf.cast(features, tf.float32), tokens)
    np.testing.assert_array_equal(teacher_forced(decoder, features, tokens), expected)
    np.testing.assert_allclose(stepped(decoder, features, tokens), expected, atol=1e-5)


@KINDS
def test_gradients_of_every_weight_equal_the_slopes(kind, heads):
    decoder, features, tokens = make_decoder(kind, heads), make_features(), make_tokens()
    decoder.projection_bias.assign(tf.abs(decoder.projection_bias) + 1)  # No ReLU is dead.
    rng = np.random.default_rng(0)

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


def initial_weights(kind: str, seed: int) -> dict[str, np.ndarray]:
    config = config_lib.model_defaults()
    config.update(decoder=kind, units=8, embedding_size=8)
    weights = decoders.build(config, VOCABULARY, 8, seed=seed).weights
    return {weight.name: weight.numpy() for weight in weights}


@pytest.mark.parametrize("kind", list(DECODERS))
def test_the_seed_decides_the_initial_weights(kind):
    first, again, other = (initial_weights(kind, seed) for seed in (1, 1, 2))
    for name, values in first.items():
        np.testing.assert_array_equal(again[name], values, err_msg=name)
        is_bias = values.ndim == 1
        assert (other[name] == values).all() == is_bias, name


@pytest.mark.parametrize("kind", list(DECODERS))
def test_weights_of_equal_shape_start_with_different_values(kind):
    kernels = [values for values in initial_weights(kind, 0).values() if values.ndim == 2]
    for one, other in itertools.combinations(kernels, 2):
        assert one.shape != other.shape or (one != other).all()


def test_initial_weights_of_a_seed_stay_the_same():
    weights = initial_weights("attention", 0)
    found = {name: weights[name][0, 0] for name in ("embedding", "query_kernel")}
    assert found == pytest.approx({"embedding": -1.45957e-3, "query_kernel": -0.133702}, rel=1e-4)


def test_a_decoder_is_added_by_one_registry_line():
    config = config_lib.default()
    config.model.decoder = "mean"
    with DECODERS.registered("mean", f"{__name__}:MeanDecoder"):
        config_checks.validate(config)
        decoder = decoders.build(config.model, VOCABULARY, CHANNELS)
    tokens = make_tokens()
    expected = stepped(decoder, make_features(), tokens)
    np.testing.assert_allclose(
        teacher_forced(decoder, make_features(), tokens), expected, atol=1e-5
    )


def test_an_unknown_decoder_is_refused_with_the_nearest_name():
    config = config_lib.model_defaults()
    config.decoder = "atention"
    with pytest.raises(UserError, match=r"config\.model\.decoder='atention'.*mean attention\?"):
        decoders.build(config, VOCABULARY, CHANNELS)


class MeanDecoder(Decoder):
    """The smallest decoder: logits from the projected mean of the features and the last word."""

    def __init__(self, config, vocab_size, channels, **options):
        super().__init__(config, vocab_size, channels, **options)
        self.projection = self.kernel("projection", channels, config.embedding_size)

    def start(self, features, width, dropout):
        image = tf.matmul(tf.reduce_mean(features, axis=1), self.projection)
        return {}, {"image": tf.repeat(image[:, tf.newaxis], width, axis=1)}

    def output_vectors(self, features, tokens, dropout):
        _, carry = self.start(features, tf.shape(tokens)[1], dropout)
        return carry["image"][:, :, tf.newaxis] + self.embed(tokens, tf.float32)

    def step(self, tokens, memory, carry):
        return self.logits(carry["image"] + self.embed(tokens, tf.float32)), carry


@KINDS
def test_dropout_in_a_decoder_depends_on_its_seed_only(kind, heads):
    decoder, features, tokens = make_decoder(kind, heads), make_features(), make_tokens()

    def with_seed(*seed: int) -> np.ndarray:
        return teacher_forced(decoder, features, tokens, Dropout(tf.constant(seed)))

    np.testing.assert_array_equal(with_seed(1, 2), with_seed(1, 2))
    without = teacher_forced(decoder, features, tokens)
    for other in (with_seed(1, 3), with_seed(2, 2), without):
        assert np.abs(with_seed(1, 2) - other).max() > 0.1


def test_dropout_zeroes_its_rate_and_scales_the_rest():
    x = tf.ones([100, 100])
    dropped = Dropout(tf.constant([3, 4]))(x, 0.3).numpy()
    assert np.mean(dropped == 0) == pytest.approx(0.3, abs=0.02)
    np.testing.assert_allclose(dropped[dropped != 0], 1 / 0.7, rtol=1e-6)


def test_each_call_of_dropout_draws_another_mask():
    def masks(seed: int) -> list[np.ndarray]:
        dropout = Dropout(tf.constant([0, seed]))
        return [dropout(tf.ones([64]), 0.5).numpy() for _ in range(2)]

    first, second = masks(5)
    assert (first != second).any()
    np.testing.assert_array_equal([first, second], masks(5))
    assert (first != masks(6)[0]).any()


def test_no_dropout_and_a_rate_of_zero_change_nothing():
    x = tf.random.stateless_normal([8, 8], [1, 1])
    np.testing.assert_array_equal(NO_DROPOUT(x, 0.9), x)
    np.testing.assert_array_equal(Dropout(tf.constant([1, 1]))(x, 0.0), x)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_attention_is_the_softmax_of_scaled_dot_products(heads):
    rng = np.random.default_rng(heads)
    query, values = rng.normal(size=(BATCH, WIDTH, 8)), rng.normal(size=(BATCH, POSITIONS, 8))
    answers, weights = [], []
    for part in np.split(np.arange(8), heads):
        scores = query[..., part] @ values[..., part].swapaxes(1, 2) / np.sqrt(len(part))
        softmax = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
        answers.append(softmax @ values[..., part])
        weights.append(softmax)
    answer, weight = attend(tf.constant(query), tf.constant(values), heads)
    np.testing.assert_allclose(answer, np.concatenate(answers, axis=-1), atol=1e-6)
    np.testing.assert_allclose(weight, np.mean(weights, axis=0), atol=1e-6)


def test_lstm_equals_keras_with_a_forget_bias_of_one():
    rng = np.random.default_rng(0)
    inputs, hidden, cell = (rng.normal(size=(4, 8)).astype(np.float32) for _ in range(3))
    layer = keras.layers.LSTMCell(8, unit_forget_bias=True)
    layer.build((4, 8))
    expected, (_, expected_cell) = layer(inputs, [hidden, cell])
    sums = inputs @ layer.kernel.numpy() + hidden @ layer.recurrent_kernel.numpy()
    found, found_cell = lstm(tf.constant(sums), tf.constant(cell))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(found_cell, expected_cell, atol=1e-6)


@pytest.mark.parametrize("heads", [1, 4])
def test_a_step_returns_its_attention_weights(heads):
    decoder, features = make_decoder("attention", heads), make_features()
    memory, carry = decoder.start(features, WIDTH, NO_DROPOUT)
    _, carry = decoder.step(tf.fill([BATCH, WIDTH], START), memory, carry)
    attention = carry["attention"].numpy()
    assert attention.shape == (BATCH, WIDTH, POSITIONS)
    np.testing.assert_allclose(attention.sum(-1), 1, atol=1e-6)
    assert attention.std(axis=-1).min() > 1e-3
