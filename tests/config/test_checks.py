"""The values of settings that are refused, and the changes that a trained run refuses."""

from __future__ import annotations

import pytest
from tiny_runs import changed_config

from imcap import config as config_lib
from imcap.config import checks
from imcap.errors import UserError


def test_the_defaults_are_valid() -> None:
    checks.validate(config_lib.default())


@pytest.mark.parametrize(
    ("key", "value", "rule"),
    [
        ("encoder.image_size", 0, "greater than 0"),
        ("encoder.batch_size", -1, "at least 0"),
        ("encoder.max_pixels", 0, "greater than 0"),
        ("encoder.width", 0, "greater than 0"),
        ("encoder.stages", 0, "greater than 0"),
        ("encoder.pretrain.epochs", 0, "greater than 0"),
        ("encoder.pretrain.batch_size", 0, "greater than 0"),
        ("encoder.pretrain.learning_rate", 0.0, "greater than 0"),
        ("encoder.pretrain.words", 0, "greater than 0"),
        ("records.num_shards", -1, "at least 0"),
        ("records.shard_mb", 0.0, "greater than 0"),
        ("records.limit", -1, "at least 0"),
        ("text.max_length", 0, "greater than 0"),
        ("text.min_count", 0, "greater than 0"),
        ("text.vocab_size", -5, "greater than 0"),
        ("model.layers", 0, "greater than 0"),
        ("model.layers", -1, "greater than 0"),
        ("model.units", 0, "greater than 0"),
        ("model.embedding_size", 0, "greater than 0"),
        ("model.heads", 0, "greater than 0"),
        ("train.batch_size", 0, "greater than 0"),
        ("train.accumulate_steps", 0, "greater than 0"),
        ("train.accumulate_steps", 65, "at most train.batch_size=64"),
        ("train.epochs", 0, "greater than 0"),
        ("train.learning_rate", 0.0, "greater than 0"),
        ("train.learning_rate", float("nan"), "greater than 0"),
        ("train.eval_every", 0, "greater than 0"),
        ("train.shuffle_buffer", 0, "greater than 0"),
        ("decode.beam_size", 0, "greater than 0"),
        ("decode.max_length", 0, "greater than 0"),
        ("decode.length_penalty", -0.1, "at least 0"),
        ("decode.length_penalty", float("nan"), "at least 0"),
        ("model.dropout", 1.0, "below 1"),
        ("model.embedding_dropout", -0.1, "at least 0"),
        ("model.feature_dropout", 1.5, "below 1"),
        ("train.label_smoothing", 1.0, "below 1"),
        ("train.warmup", 1.0, "below 1"),
        ("train.weight_decay", -0.1, "at least 0"),
        ("train.encoder_learning_rate", -1e-5, "at least 0"),
        ("train.clip_norm", -1.0, "at least 0"),
        ("train.patience", -1, "at least 0"),
        ("train.keep_checkpoints", "0", "must be all, a number of epochs above 0, or empty"),
        ("train.keep_checkpoints", "some", "must be all, a number of epochs"),
        ("train.eval_images", -1, "at least 0"),
        ("train.objective", "scst", "cross_entropy, self_critical"),
        ("train.objective", "self_critical", "--config.train.from_checkpoint=RUN"),
        ("train.self_critical.samples", 1, "at least 2"),
        ("train.self_critical.bleu4_weight", -0.5, "at least 0"),
        ("train.self_critical.cross_entropy_weight", -0.5, "at least 0"),
        ("decode.no_repeat_ngram", -1, "at least 0"),
        ("decode.rerank_score_weight", -0.1, "at least 0"),
        ("decode.rerank_mbr_weight", -1.0, "at least 0"),
        ("decode.rerank_sharpness", -8.0, "at least 0"),
        ("decode.rerank_neighbors", 0, "greater than 0"),
        ("decode.rerank_dimensions", 0, "greater than 0"),
        ("decode.rerank_images", -1, "greater than 0"),
        ("decode.rerank", "knn", "none, mbr, consensus"),
        ("encoder.pooling", "max", "spatial, avg"),
        ("records.dtype", "float64", "float16, bfloat16, float32"),
        ("records.compression", "ZIP", "GZIP"),
        ("model.decoder", "transformer", "attention"),
        ("train.compute_dtype", "int8", "float32, bfloat16"),
        ("train.best_metric", "loss", "rouge_l, cider"),
    ],
)
def test_a_value_that_cannot_work_is_refused_by_key(key: str, value: object, rule: str) -> None:
    with pytest.raises(UserError) as caught:
        checks.validate(changed_config(key, value))
    message = str(caught.value)
    assert f"config.{key}={value!r}" in message
    assert rule in message
    assert "\n" not in message


def test_heads_must_divide_units() -> None:
    with pytest.raises(UserError, match=r"^config\.model\.heads=3 must divide model\.units=512$"):
        checks.validate(changed_config("model.heads", 3))


def test_frozen_word_vectors_need_a_file() -> None:
    with pytest.raises(UserError, match=r"train_word_vectors=False .* --config.model.word_vec"):
        checks.validate(changed_config("model.train_word_vectors", False))


def test_layers_of_the_encoder_are_not_trained_with_a_decoder_that_sees_no_image() -> None:
    config = changed_config("encoder.tune_from", "conv4_block6_out")
    config.model.decoder = "language_model"
    with pytest.raises(UserError, match=r"^config\.encoder\.tune_from='conv4_block6_out' trains"):
        checks.validate(config)


def settings() -> dict[str, object]:
    return dict(checks.flatten(config_lib.default().to_dict()))


def test_every_checked_setting_exists() -> None:
    checked = {*checks.CHOICES, *checks.POSITIVE, *checks.NOT_NEGATIVE}
    assert {*checked, *checks.FRACTIONS} <= settings().keys()


def test_every_changeable_setting_exists_and_has_a_reason() -> None:
    known = {*settings(), *config_lib.default().keys()}
    for key, reason in checks.CHANGEABLE.items():
        assert key in known
        assert reason


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", 1),
        ("dataset.name", "coco"),
        ("dataset.size", 6),
        ("encoder.name", "VGG16"),
        ("encoder.image_size", 64),
        ("encoder.layer", "conv4_block6_out"),
        ("encoder.weights", "elsewhere/weights.h5"),
        ("records.flip", True),
        ("records.crops", 3),
        ("text.min_count", 2),
        ("text.vocabulary", "vocab.txt"),
        ("model.decoder", "inject"),
        ("model.units", 64),
        ("model.layers", 2),
        ("model.tie_embeddings", False),
        ("train.epochs", 99),
        ("train.batch_size", 2),
        ("train.objective", "self_critical"),
        ("train.self_critical.samples", 7),
        ("train.from_checkpoint", "elsewhere"),
        ("train.best_metric", "bleu4"),
    ],
)
def test_a_change_of_features_or_weights_is_refused(key, value) -> None:
    before = settings()[key]
    with pytest.raises(UserError) as caught:
        checks.check_unchanged(config_lib.default(), changed_config(key, value), "runs/a")
    assert f"runs/a was trained with {key}={before!r}, now {value!r}: " in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("decode.beam_size", 9),
        ("decode.max_length", 9),
        ("dataset.dir", "elsewhere"),
        ("records.dir", "elsewhere"),
        ("records.cache_dir", "elsewhere"),
        ("encoder.batch_size", 3),
        ("train.readers", 7),
        ("train.eval_images", 7),
        ("train.compute_dtype", "auto"),
    ],
)
def test_a_harmless_change_is_taken(key, value) -> None:
    checks.check_unchanged(config_lib.default(), changed_config(key, value), "runs/a")


def test_a_command_may_free_further_settings() -> None:
    old, new = config_lib.default(), changed_config("encoder.weights", "elsewhere/weights.h5")
    checks.check_unchanged(old, new, "runs/a", free=["encoder.weights"])
    checks.check_unchanged(old, new, "runs/a", free=["encoder"])


def test_a_path_may_be_relative_or_absolute(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    old, new = (
        changed_config("encoder.weights", path) for path in ("a/w.h5", str(tmp_path / "a/w.h5"))
    )
    checks.check_unchanged(old, new, "runs/a")
