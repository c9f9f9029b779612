"""Shapes: scenes that are drawn on the spot, captioned with imcap's own CNN from scratch.

make demo

The test split has combinations of colour and shape that are in no other split. Times
and scores: README.md.
"""

from imcap import config as config_lib
from imcap.errors import UserError


def get_config(variant: str = "") -> config_lib.ConfigDict:
    """`variant`: empty, or `tiny`: for tests, it runs in seconds and learns little."""
    if variant not in ("", "tiny"):
        raise UserError(f"there is no variant {variant!r}; there is `tiny`, and none")
    config = config_lib.default()
    config.dataset.name = "shapes"
    config.dataset.dir = "{workdir}/shapes"
    config.dataset.size = 6_000
    config.dataset.ratios = (0.9, 0.05, 0.05)
    config.encoder.name = "custom_cnn"
    config.encoder.weights = "{workdir}/encoder.weights.h5"
    config.encoder.image_size = 64
    config.encoder.width = 24
    config.encoder.pretrain.epochs = 5
    config.encoder.pretrain.batch_size = 32
    config.encoder.pretrain.learning_rate = 4e-3
    config.records.num_shards = 4
    config.text.min_count = 1
    config.model.units = 128
    config.model.embedding_size = 64
    config.model.dropout = 0.1
    config.model.embedding_dropout = 0.1
    config.model.feature_dropout = 0.0
    config.train.epochs = 6
    config.train.eval_every = 6  # Once, after the last epoch.
    config.train.learning_rate = 3e-3
    config.train.label_smoothing = 0.0
    if variant == "tiny":
        config.dataset.size = 120
        config.dataset.ratios = (0.8, 0.1, 0.1)
        config.encoder.image_size = 96
        config.encoder.width = 4
        config.encoder.pretrain.epochs = 1
        config.encoder.pretrain.batch_size = 64
        config.records.num_shards = 2
        config.model.units = 16
        config.model.embedding_size = 16
        config.train.epochs = 2
        config.train.eval_every = 1
        config.train.batch_size = 16
    return config
