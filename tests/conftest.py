"""What tests share: a tiny shapes run, made once with the real job."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import pytest
from ml_collections import ConfigDict

from configs import shapes
from imcap import config as config_lib


def tiny_config(workdir: Path, **changes: object) -> ConfigDict:
    """A resolved config of a run that takes seconds; `changes` by dotted key with `__`."""
    config = shapes.get_config("tiny")
    config.encoder.weights = ""
    for key, value in changes.items():
        config.update_from_flattened_dict({key.replace("__", "."): value})
    return config_lib.resolve(config, str(workdir))


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> ConfigDict:
    """The config of a run whose records are built: 120 scenes, 2 shards a split."""
    from beam_jobs import build_records

    workdir = tmp_path_factory.mktemp("tiny")
    config = tiny_config(workdir)
    build_records.run(config)
    return config
