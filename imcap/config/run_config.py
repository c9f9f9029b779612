"""A run's config: resolved, kept as WORKDIR/config.json, and compared with what the run is."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import Any

from ml_collections import ConfigDict

from imcap import filesystem
from imcap.config import checks
from imcap.config.defaults import default
from imcap.errors import UserError

CONFIG_JSON, CHECKPOINTS = "config.json", "checkpoints"
_WORKDIR = "{workdir}"  # In a path: the run's folder.
# The settings that are paths, or may be (`encoder.name` and `encoder.weights`).
_PATHS = (
    ("dataset", "dir"),
    ("dataset", "exclude"),
    ("encoder", "name"),
    ("encoder", "weights"),
    ("model", "word_vectors"),
    ("records", "dir"),
    ("records", "cache_dir"),
    ("text", "vocabulary"),
    ("train", "from_checkpoint"),
    ("eval", "similarity_encoder"),
)


def resolve(config: ConfigDict, workdir: str) -> ConfigDict:
    """Checks a config and fills in its paths.

    Args:
      config: from `default`, a config file, or `read`; left unchanged.
      workdir: the run's folder.

    Returns:
      A locked copy with `{workdir}` and `~` in paths replaced and `records.dir` filled in.

    Raises:
      UserError: a setting has a value that cannot work; names it.
    """
    checks.validate(config)
    config = ConfigDict(config.to_dict())
    for part, key in _PATHS:
        path = config[part][key].replace(_WORKDIR, workdir)
        config[part][key] = os.path.expanduser(path)
    config.records.dir = config.records.dir or os.path.join(workdir, "records")
    return config.lock()


def save(config: ConfigDict, workdir: str) -> None:
    """Writes WORKDIR/config.json.

    Paths below the workdir are written as `{workdir}/…`, so that the run's folder can be moved.

    Args:
      config: a resolved config.
      workdir: the run's folder; made if it is not there.

    Raises:
      UserError: the folder cannot be written.
    """
    config = ConfigDict(config.to_dict())
    root = workdir.rstrip("/") + "/"
    for part, key in _PATHS:
        path = config[part][key]
        if path.startswith(root):
            config[part][key] = os.path.join(_WORKDIR, path.removeprefix(root))
    try:
        os.makedirs(workdir, exist_ok=True)
        filesystem.write_json(
            os.path.join(workdir, CONFIG_JSON), config.to_dict(), indent=2, sort_keys=True
        )
    except OSError as error:
        raise UserError(f"--workdir={workdir} cannot be written: {error.strerror}") from error


def read(workdir: str) -> ConfigDict | None:
    """Returns what `save` wrote, not resolved; None if WORKDIR/config.json does not exist.

    Settings that are unknown here are ignored; settings that the file lacks have their defaults.

    Raises:
      UserError: the file is corrupted.
    """
    path = os.path.join(workdir, CONFIG_JSON)
    if not os.path.isfile(path):
        return None
    config = default()
    try:
        values = filesystem.read_json(path)
        if not isinstance(values, dict):
            raise TypeError("not an object")
        _update(config, values)
    except (AttributeError, TypeError, ValueError) as error:
        raise UserError(f"{path} is corrupted: give --config=NAME, or remove it") from error
    return config


def _update(config: ConfigDict, values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if key in config and isinstance(config[key], ConfigDict):
            _update(config[key], value)
        elif key in config:
            config[key] = value


def check_run(
    config: ConfigDict, workdir: str, *, free: Collection[str] = (), trained: str = CHECKPOINTS
) -> None:
    """Refuses a config that contradicts what the run in `workdir` was trained with.

    Before the first checkpoint nothing is trained, and any config will do.

    Args:
      config: a resolved config.
      workdir: the run's folder.
      free: settings that this command may change, beside `checks.CHANGEABLE`.
      trained: the name in `workdir` of the file or folder that training writes.

    Raises:
      UserError: names the first setting that differs, with its old and its new value.
    """
    path, before = os.path.join(workdir, trained), read(workdir)
    if before is not None and (os.path.isfile(path) or any(names for *_, names in os.walk(path))):
        checks.check_unchanged(resolve(before, workdir), config, path, free=free)
