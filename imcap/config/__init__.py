"""What a config holds: every setting with its default, its checks, and the run's own config.json.

Use everything but the checks from here: `config.resolve(config, workdir)`.
"""

from ml_collections import ConfigDict

from imcap.config.defaults import (
    dataset_defaults,
    default,
    encoder_defaults,
    model_defaults,
    train_defaults,
)
from imcap.config.run_config import CHECKPOINTS, CONFIG_JSON, check_run, read, resolve, save

__all__ = [
    "CHECKPOINTS",
    "CONFIG_JSON",
    "ConfigDict",
    "check_run",
    "dataset_defaults",
    "default",
    "encoder_defaults",
    "model_defaults",
    "read",
    "resolve",
    "save",
    "train_defaults",
]
