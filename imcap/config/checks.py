"""Checks of settings: invalid values, and changes that a trained run refuses."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

from imcap.datasets import READERS
from imcap.decoders import DECODERS
from imcap.errors import UserError
from imcap.metrics import METRICS
from imcap.registry import advice
from imcap.training import OBJECTIVES

CHOICES: dict[str, Collection[str]] = {
    "dataset.name": READERS,
    "encoder.pooling": ("spatial", "avg"),
    "encoder.compute_dtype": ("float32", "bfloat16", "auto"),
    "records.dtype": ("float16", "bfloat16", "float32", "uint8"),
    "records.compression": ("", "GZIP"),
    "model.decoder": DECODERS,
    "train.objective": OBJECTIVES,
    "train.compute_dtype": ("auto", "float32", "bfloat16", "float16"),
    "train.best_metric": METRICS,
    "export.compute_dtype": ("float32", "bfloat16", "auto"),
    "export.weights_dtype": ("float32", "float16"),
    "decode.rerank": ("none", "mbr", "consensus"),
}
POSITIVE = (
    "encoder.image_size",
    "encoder.max_pixels",
    "encoder.width",
    "encoder.stages",
    "encoder.pretrain.epochs",
    "encoder.pretrain.batch_size",
    "encoder.pretrain.learning_rate",
    "encoder.pretrain.words",
    "records.shard_mb",
    "text.max_length",
    "text.min_count",
    "text.vocab_size",
    "model.layers",
    "model.units",
    "model.embedding_size",
    "model.heads",
    "train.batch_size",
    "train.accumulate_steps",
    "train.epochs",
    "train.learning_rate",
    "train.self_critical.temperature",
    "train.shuffle_buffer",
    "train.eval_every",
    "train.readers",
    "decode.beam_size",
    "decode.max_length",
    "decode.rerank_neighbors",
    "decode.rerank_dimensions",
    "decode.rerank_images",
)
NOT_NEGATIVE = (
    "dataset.holdout",
    "encoder.batch_size",
    "records.num_shards",
    "records.limit",
    "records.crops",
    "train.encoder_learning_rate",
    "train.weight_decay",
    "train.clip_norm",
    "train.patience",
    "train.checkpoint_minutes",
    "train.eval_images",
    "train.self_critical.bleu4_weight",
    "train.self_critical.cross_entropy_weight",
    "decode.length_penalty",
    "decode.no_repeat_ngram",
    "decode.rerank_score_weight",
    "decode.rerank_mbr_weight",
    "decode.rerank_sharpness",
)
FRACTIONS = (
    "model.dropout",
    "model.embedding_dropout",
    "model.feature_dropout",
    "model.weight_drop",
    "train.label_smoothing",
    "train.warmup",
)

# Settings that may change once a run is trained, each with the reason. All others determine its
# features or its weights. A name without a dot is a whole part of the config.
CHANGEABLE: dict[str, str] = {
    "decode": "only the search for captions reads it; the weights do not depend on it",
    "export": "only the export reads it; training knows nothing of it",
    "eval": "only evaluation reads it; scoring changes no weight",
    "dataset.dir": "the data set may have been moved; records name images relative to it",
    "encoder.batch_size": "images encoded at a time: speed and memory only",
    "records.cache_dir": "where copies of remote records lie; not what they hold",
    "records.dir": "the records may have been moved; their info.json says what they hold",
    "records.flip_eval": "only evaluation reads these views; training does not",
    "records.max_failures": "when the records job stops; not what it writes",
    "records.shard_mb": "read where num_shards is chosen, before anything is written",
    "records.skip_corrupted": "whether a corrupted shard ends the command",
    "train.accumulate_steps": "memory; an update differs by rounding and dropout's masks alone",
    "train.checkpoint_minutes": "how much work is lost when training is killed",
    "train.eval_every": "when dev is scored; scoring changes no weight",
    "train.eval_images": "how many dev images are scored; scoring changes no weight",
    "train.keep_checkpoints": "which weights stay on the disk; not what they are",
    "train.patience": "when training stops",
    "train.readers": "speed only: the order of examples does not depend on it",
    "train.shuffle_buffer": "memory; each epoch has the same examples in another order",
}
_AUTO = "auto"  # Chosen by measuring; the choice is kept in the run.


def validate(config: ConfigDict) -> None:
    """Raises UserError naming the first setting with a value that cannot work."""
    for key in POSITIVE:
        _check(config, key, lambda v: v > 0, "must be greater than 0")
    for key in NOT_NEGATIVE:
        _check(config, key, lambda v: v >= 0, "must be at least 0")
    for key in FRACTIONS:
        _check(config, key, lambda v: 0 <= v < 1, "must be at least 0 and below 1")
    for key, choices in CHOICES.items():
        value = _get(config, key)
        if value not in choices:
            raise UserError(f"config.{key}={value!r}: {advice(value, choices)}")
    if not config.model.word_vectors and not config.model.train_word_vectors:
        raise UserError(
            "config.model.train_word_vectors=False keeps the vectors of a file: give one, "
            "--config.model.word_vectors=FILE"
        )
    keep = config.train.keep_checkpoints
    if keep not in ("", "all") and not (keep.isdecimal() and int(keep)):
        raise UserError(
            f"config.train.keep_checkpoints={keep!r} must be all, a number of epochs above 0, or "
            "empty"
        )
    _validate_self_critical(config.train)
    if config.encoder.tune_from and config.model.decoder == "language_model":
        raise UserError(
            f"config.encoder.tune_from={config.encoder.tune_from!r} trains layers of the encoder, "
            "and config.model.decoder='language_model' sees no image"
        )
    _validate_parts(config.train)
    if config.model.units % config.model.heads:
        raise UserError(
            f"config.model.heads={config.model.heads} must divide model.units={config.model.units}"
        )


def _validate_self_critical(train: ConfigDict) -> None:
    if train.self_critical.samples < 2:
        raise UserError(
            f"config.train.self_critical.samples={train.self_critical.samples!r} must be at least "
            "2: a sample's baseline is the mean reward of the others"
        )
    if train.objective == "self_critical" and not train.from_checkpoint:
        raise UserError(
            "config.train.objective='self_critical' has to start from a decoder that was trained "
            "with cross_entropy: give --config.train.from_checkpoint=RUN"
        )


def _validate_parts(train: ConfigDict) -> None:
    if train.accumulate_steps > train.batch_size:
        raise UserError(
            f"config.train.accumulate_steps={train.accumulate_steps!r} must be at most "
            f"train.batch_size={train.batch_size}: it is the number of parts of a batch"
        )


def _check(config: ConfigDict, key: str, is_valid: Callable[[Any], bool], rule: str) -> None:
    value = _get(config, key)
    if not is_valid(value):
        raise UserError(f"config.{key}={value!r} {rule}")


def _get(config: ConfigDict, key: str) -> Any:
    for part in key.split("."):
        config = config[part]
    return config


def check_unchanged(
    old: ConfigDict, new: ConfigDict, trained_path: str, *, free: Collection[str] = ()
) -> None:
    """Refuses changes to settings that determine the features or the weights of a trained run.

    Args:
      old: the resolved config that the run was trained with.
      new: the resolved config of the command.
      trained_path: of what was trained, for the message.
      free: settings that may change, beside `CHANGEABLE`.

    Raises:
      UserError: names the first setting that differs, with its old and its new value.
    """
    if difference := first_difference(old, new, {*CHANGEABLE, *free}):
        key, before, now = difference
        raise UserError(
            f"{trained_path} was trained with {key}={before!r}, now {now!r}: choose another "
            "--workdir, or remove it to train anew"
        )


def first_difference(
    old: ConfigDict, new: ConfigDict, allowed: Collection[str]
) -> tuple[str, Any, Any] | None:
    """Returns the first of the `differences` between two configs."""
    return next(differences(old, new, allowed), None)


def differences(
    old: ConfigDict, new: ConfigDict, allowed: Collection[str]
) -> Iterator[tuple[str, Any, Any]]:
    """Yields the settings of `old` that have another value in `new`: the key and both values.

    Args:
      old, new: configs, both resolved or both not.
      allowed: settings, or whole parts of a config, that may differ.
    """
    values = dict(flatten(new.to_dict()))
    for key, before in flatten(old.to_dict()):
        now = values.get(key, before)
        if not set(allowed) & {key, key.partition(".")[0]} and not _is_same(before, now):
            yield key, before, now


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields each setting of a config's dictionary with its dotted key."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _is_same(before: Any, now: Any) -> bool:
    if before == now or _AUTO in (before, now):
        return True
    # The same path may be relative once and absolute another time.
    are_paths = all(isinstance(value, str) and os.sep in value for value in (before, now))
    return are_paths and os.path.abspath(before) == os.path.abspath(now)
