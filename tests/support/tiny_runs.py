"""Configs: of runs that take seconds, and the default with a change."""

from __future__ import annotations

from pathlib import Path

import processes
from ml_collections import ConfigDict

from configs import shapes
from imcap import config as config_lib

# The flags of `imcap` for such a run, and those that make it smaller.
CONFIG = f"--config={processes.ROOT / 'configs' / 'shapes.py'}:tiny"
SMALL = (
    "--config.dataset.size=60",
    "--config.encoder.image_size=32",
    "--config.train.epochs=1",
)


def tiny_config(workdir: Path, **changes: object) -> ConfigDict:
    """Returns the resolved config of a run on shapes; `changes` by dotted key with `__`."""
    config = shapes.get_config("tiny")
    config.encoder.weights = ""
    for key, value in changes.items():
        config.update_from_flattened_dict({key.replace("__", "."): value})
    return config_lib.resolve(config, str(workdir))


def changed_config(key: str, value: object) -> ConfigDict:
    """Returns the default config with one setting, by dotted key, changed."""
    config = config_lib.default()
    config.update_from_flattened_dict({key: value})
    return config
