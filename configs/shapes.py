"""Shapes: scenes drawn on the spot, imcap's own CNN from scratch. `make demo` runs it.

make demo
"""

from imcap import config as config_lib
from imcap.errors import UserError


def get_config(variant: str = "") -> config_lib.ConfigDict:
    """`variant`: empty, or `tiny`: a minute's work for tests, without a useful result."""
    if variant not in ("", "tiny"):
        raise UserError(f"there is no variant {variant!r}; there is `tiny`, and none")
    config = config_lib.default()
    config.dataset.name = "shapes"
    config.dataset.dir = "{workdir}/shapes"
    config.dataset.size = 5_000
    config.encoder.name = "custom_cnn"
    config.encoder.weights = "{workdir}/encoder.weights.h5"
    config.encoder.image_size = 96
    config.encoder.width = 24
    config.encoder.pretrain.epochs = 10
    config.records.num_shards = 4
    config.text.min_count = 1
    config.model.units = 128
    config.model.embedding_size = 64
    config.model.dropout = 0.1
    config.model.embedding_dropout = 0.1
    config.model.feature_dropout = 0.0
    config.train.epochs = 12
    config.train.learning_rate = 3e-3
    config.train.label_smoothing = 0.0
    if variant == "tiny":
        config.dataset.size = 120
        config.encoder.width = 4
        config.encoder.pretrain.epochs = 1
        config.records.num_shards = 2
        config.model.units = 16
        config.model.embedding_size = 16
        config.train.epochs = 2
        config.train.batch_size = 16
    return config
