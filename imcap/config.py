"""What a config holds: every setting with its default, and the checks that stop a bad one early."""

from __future__ import annotations

import os

from ml_collections import ConfigDict

from imcap import filesystem, metrics
from imcap.datasets import READERS
from imcap.decoders import DECODERS
from imcap.errors import UserError
from imcap.registry import Registry

_CHOICES = {
    "dataset.name": READERS,
    "encoder.pooling": ("spatial", "avg"),
    "encoder.compute_dtype": ("float32", "bfloat16", "auto"),
    "records.dtype": ("float16", "bfloat16", "float32"),
    "records.compression": ("", "GZIP"),
    "model.decoder": DECODERS,
    "train.compute_dtype": ("auto", "float32", "bfloat16"),
    "train.best_metric": metrics.METRICS,
}
_POSITIVE = (
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
    "model.units",
    "model.embedding_size",
    "model.heads",
    "train.batch_size",
    "train.epochs",
    "train.learning_rate",
    "train.shuffle_buffer",
    "train.eval_every",
    "train.readers",
    "decode.beam_size",
    "decode.max_length",
)
_NOT_NEGATIVE = (
    "dataset.holdout",
    "encoder.batch_size",
    "records.num_shards",
    "records.limit",
    "train.weight_decay",
    "train.clip_norm",
    "train.patience",
    "train.checkpoint_minutes",
    "train.eval_images",
    "decode.no_repeat_ngram",
)
_FRACTIONS = (
    "model.dropout",
    "model.embedding_dropout",
    "model.feature_dropout",
    "train.label_smoothing",
    "train.warmup",
)


def default() -> ConfigDict:
    """Returns every setting with its default; configs/*.py change what differs."""
    config = ConfigDict()
    config.seed = 0
    config.dataset = dataset_defaults()
    config.encoder = encoder_defaults()
    config.records = ConfigDict(
        {
            "dir": "",  # Empty: WORKDIR/records. Several runs can share one folder.
            "cache_dir": "",  # For copies of remote records; empty: ~/.cache/imcap/records.
            "num_shards": 16,  # Of each split; 0: as many as `shard_mb` asks for.
            "shard_mb": 256.0,  # Wanted size of the largest split's shards, where num_shards is 0.
            "dtype": "float16",
            # Or GZIP: ResNet50's shards are a quarter of the size and EfficientNet-Lite0's a fifth,
            # read at a quarter of the images/s.
            "compression": "",
            "limit": 0,  # Images of each split, for a first look; 0: all.
            "max_failures": "",  # Images (100) or share of them (1%) that may fail; empty: any.
            # Skips training images that are also in another split. This reads each image once
            # more, which a bucket charges for.
            "find_duplicates": True,
            "skip_corrupted": False,  # Train and score without what a corrupted shard has lost.
            "flip": False,  # Also encode each training image mirrored, as a second view.
        }
    )
    config.text = ConfigDict(
        {
            "max_length": 22,  # Words; a longer caption is cut and teaches no end.
            "min_count": 4,  # Rarer training words become [UNK].
            "vocab_size": 20_000,  # Words at most, the most frequent ones.
            "vocabulary": "",  # An existing vocab.txt instead of building one.
        }
    )
    config.model = model_defaults()
    config.train = train_defaults()
    config.decode = ConfigDict(
        {
            "beam_size": 3,
            "length_penalty": 0.7,  # Total log-probability is divided by length ** this.
            "max_length": 22,  # Words.
            "no_repeat_ngram": 3,  # No n-gram of this many words twice; 0 allows them.
        }
    )
    return config.lock()


def dataset_defaults() -> ConfigDict:
    return ConfigDict(
        {
            "name": "flickr8k",  # One of imcap.datasets.READERS.
            "dir": "",
            "images": "",  # The images' folder below dir; empty: as the layout has it.
            "captions": "",  # The captions' file below dir; empty: as the layout has it.
            "ratios": (0.8, 0.1, 0.1),  # Train, dev, test, where the data set has no splits.
            "holdout": 0,  # Training images moved to the split `holdout`.
            "restval": True,  # Karpathy's restval images count as train.
            "seed": 0,
            "size": 5_000,  # Scenes of the shapes data set.
            "columns": {"image": "image", "caption": "caption", "id": "", "split": ""},
        }
    )


def encoder_defaults() -> ConfigDict:
    return ConfigDict(
        {
            # A keras.applications name, custom_cnn, or the path of a saved Keras file.
            "name": "ResNet50",
            "weights": "imagenet",  # imagenet, a path, or empty: not pretrained.
            "image_size": 224,
            "layer": "",  # A named inner layer instead of the last one.
            "pooling": "spatial",  # Or avg: one vector per image.
            "batch_size": 0,  # Images; 0: 8 on CPUs, 128 on a GPU.
            # Of the convolutions in the records job: float32, bfloat16, or auto for the one that is
            # faster here by measurement. bfloat16 changes the features a little.
            "compute_dtype": "float32",
            "max_pixels": 100_000_000,  # Larger images are refused before decoding.
            "seed": 0,  # Of weights that are not pretrained.
            "width": 32,  # Channels of custom_cnn's first stage.
            "stages": 4,  # Of custom_cnn; each halves the side and doubles the channels.
            # `imcap pretrain` teaches custom_cnn to name the words of the captions.
            "pretrain": {"epochs": 10, "batch_size": 64, "learning_rate": 2e-3, "words": 100},
        }
    )


def model_defaults() -> ConfigDict:
    return ConfigDict(
        {
            "decoder": "attention",
            "units": 512,
            "embedding_size": 256,
            "heads": 1,
            "dropout": 0.5,
            "embedding_dropout": 0.3,
            "feature_dropout": 0.2,
        }
    )


def train_defaults() -> ConfigDict:
    return ConfigDict(
        {
            "batch_size": 64,  # Images, over all replicas; each comes with all its captions.
            "epochs": 12,
            "learning_rate": 1e-3,
            "warmup": 0.1,  # Share of all steps over which the rate rises from zero.
            "weight_decay": 0.0,
            "label_smoothing": 0.1,
            "clip_norm": 5.0,  # 0: gradients are not clipped.
            "compute_dtype": "float32",  # Of matrix products; auto: the faster one by measurement.
            "shuffle_buffer": 2048,  # Images.
            "readers": 2,  # Shards read at a time.
            "eval_every": 1,  # Epochs between dev scores.
            "best_metric": "cider",
            "patience": 0,  # Evaluations without a better score until it stops; 0: never.
            "checkpoint_minutes": 5.0,  # Between checkpoints within an epoch.
            "eval_images": 0,  # Dev photos scored while training; 0: all.
        }
    )


def validate(config: ConfigDict) -> None:
    """Raises UserError naming the first setting with a value that cannot work."""
    for key in _POSITIVE:
        _check(config, key, lambda v: v > 0, "must be greater than 0")
    for key in _NOT_NEGATIVE:
        _check(config, key, lambda v: v >= 0, "must be at least 0")
    for key in _FRACTIONS:
        _check(config, key, lambda v: 0 <= v < 1, "must be at least 0 and below 1")
    for key, choices in _CHOICES.items():
        if isinstance(choices, Registry) and (value := _get(config, key)) not in choices:
            raise UserError(f"config.{key}={value!r}: {choices.choices(value)}")
        _check(config, key, lambda v, c=choices: v in c, f"must be one of {', '.join(choices)}")
    if config.model.units % config.model.heads:
        raise UserError(
            f"config.model.heads={config.model.heads} must divide model.units={config.model.units}"
        )


def _check(config: ConfigDict, key: str, is_valid, rule: str) -> None:
    value = _get(config, key)
    if not is_valid(value):
        raise UserError(f"config.{key}={value!r} {rule}")


def _get(config: ConfigDict, key: str):
    for part in key.split("."):
        config = config[part]
    return config


def resolve(config: ConfigDict, workdir: str) -> ConfigDict:
    """Returns a frozen copy with `{workdir}` in paths replaced and records.dir filled in."""
    validate(config)
    config = ConfigDict(config.to_dict())
    config.dataset.dir = config.dataset.dir.replace("{workdir}", workdir)
    config.encoder.name = config.encoder.name.replace("{workdir}", workdir)
    config.encoder.weights = config.encoder.weights.replace("{workdir}", workdir)
    config.text.vocabulary = config.text.vocabulary.replace("{workdir}", workdir)
    config.records.dir = config.records.dir.replace("{workdir}", workdir) or os.path.join(
        workdir, "records"
    )
    return config.lock()


def save(config: ConfigDict, workdir: str) -> None:
    """Writes WORKDIR/config.json; raises UserError where the folder cannot be written."""
    try:
        os.makedirs(workdir, exist_ok=True)
        path = os.path.join(workdir, "config.json")
        filesystem.write_json(path, config.to_dict(), indent=2, sort_keys=True)
    except OSError as error:
        raise UserError(f"--workdir={workdir} cannot be written: {error.strerror}") from error
