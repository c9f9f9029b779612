"""`--config` and `--config.KEY=VALUE` to a config, and whatever is wrong with them in one line."""

from __future__ import annotations

import difflib
import glob
import importlib.machinery
import importlib.util
import os
import re
import traceback
from collections.abc import Sequence

import ml_collections.config_flags
from absl import flags
from ml_collections import ConfigDict

import imcap
from imcap import config as config_lib
from imcap.errors import UserError

# The package with the named configs lies beside imcap, in a checkout and where a wheel puts it. It
# is not imported: a folder `configs` of the user's own may come first in sys.path.
PACKAGED = os.path.join(os.path.dirname(os.path.dirname(imcap.__file__)), "configs")
_OVERRIDE = re.compile(r"--?(?:no)?config\.([^=]*)")


def take(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """Splits off `--config=VALUE` or `--config VALUE`; returns the last VALUE and the rest."""
    value: str | None = None
    rest: list[str] = []
    remaining = iter(arguments)
    for argument in remaining:
        name, equals, given = argument.partition("=")
        if argument == "--":
            return value, [*rest, argument, *remaining]
        if name not in ("-config", "--config"):
            rest.append(argument)
            continue
        value = given if equals else next(remaining, "")
    return value, rest


def load(value: str | None, workdir: str | None) -> ConfigDict | None:
    """Returns the config that `--config` names, or else the run's own.

    Args:
      value: a file or the name of a packaged config, either with `:VARIANT`; None: not given.
      workdir: where the run's config.json is looked for: if `value` is None, or names a config that
        leaves `dataset.dir` empty, which is then the run's.

    Returns:
      A config, not resolved; None if there is neither.

    Raises:
      UserError: there is no such config, or its file has a mistake; names the line.
    """
    if value is None:
        return config_lib.read(workdir) if workdir else None
    name, colon, variant = value.partition(":")
    path = _find(os.path.expanduser(name))
    try:
        config = _run(path, [variant] if colon else [])
    except Exception as error:  # The config file is a program: it may raise anything.
        raise UserError(f"--config: {_describe(error, path)}") from error
    default = config_lib.default()
    if not isinstance(config, ConfigDict) or set(config) != set(default):
        raise UserError(
            f"--config: {path}: get_config() must return imcap.config.default(), changed"
        )
    if workdir and not config.dataset.dir:
        config.dataset.dir = _own_dataset_dir(workdir, config.dataset.name)
    return config.lock()


def _own_dataset_dir(workdir: str, dataset: str) -> str:
    """Returns the `dataset.dir` of a run on that data set; empty if there is no such run."""
    try:
        own = config_lib.read(workdir)
    except UserError:  # It is corrupted; `--config` is what its message asks for.
        return ""
    return own.dataset.dir if own and own.dataset.name == dataset else ""


def names() -> list[str]:
    """Returns the names of the packaged configs; one in a folder is named FOLDER/NAME."""
    files = glob.glob("**/[!_]*.py", root_dir=PACKAGED, recursive=True)
    return sorted(file.removesuffix(".py").replace(os.sep, "/") for file in files)


def _find(name: str) -> str:
    packaged = os.path.join(PACKAGED, f"{name}.py")
    for path in (name, packaged):
        if os.path.isfile(path):
            return path
    near = difflib.get_close_matches(name, names(), n=1)
    hint = f"did you mean {near[0]}?" if near else f"by name there are {', '.join(names())}"
    raise UserError(f"--config={name}: no such file or named config; {hint}")


def _run(path: str, variant: Sequence[str]) -> object:
    loader = importlib.machinery.SourceFileLoader("imcap_config_file", path)
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None  # It is None only where the loader is.
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module.get_config(*variant)


def _describe(error: Exception, path: str) -> str:
    """Returns in one line where in a config file an exception arose, and what it says."""
    if isinstance(error, SyntaxError) and error.filename == path:
        return f"{path}, line {error.lineno}: {error.msg}"
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == path
    ]  # fmt: skip
    place = f"{path}, line {lines[-1]}" if lines else path
    if isinstance(error, UserError):
        return f"{place}: {error}"
    return f"{place}: {type(error).__name__}: {summarize(error)}"


def summarize(error: Exception) -> str:
    """Returns what an exception says in one line.

    ml_collections names a missing key and the nearest one on lines of their own, may list all
    settings in between (that list is left out), and raises AttributeError(KeyError(message)).
    """
    if error.args and isinstance(error.args[0], KeyError):
        error = error.args[0]
    # The str() of a KeyError is the repr of its argument.
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    lines = [line.partition(" Other fields present")[0] for line in text.splitlines()]
    near = [line for line in lines[1:] if line.startswith("Did you mean")]
    return " ".join([*lines[:1], *near[:1]])


def is_override(argument: str) -> bool:
    """Tells whether an argument is `--config.KEY`, with one dash or two, or `--noconfig.KEY`."""
    return _OVERRIDE.match(argument) is not None


def define_overrides(
    values: flags.FlagValues, config: ConfigDict, arguments: Sequence[str]
) -> None:
    """Defines `--config.KEY` for each KEY in `arguments`; parsing `values` then changes `config`.

    Raises:
      UserError: there is no such key; names the nearest one.
    """
    for argument in arguments:
        if found := _OVERRIDE.match(argument):
            _check_key(config, found[1])
    try:
        ml_collections.config_flags.DEFINE_config_dict(
            "config", config, flag_values=values, sys_argv=list(arguments)
        )
    except (TypeError, ValueError) as error:
        raise UserError(f"--config: {summarize(error)}") from error


def _check_key(config: ConfigDict, key: str) -> None:
    for part in key.split("."):
        if not isinstance(config, ConfigDict):
            raise UserError(f"--config.{key}: there is no key {part}: that setting is one value")
        if part not in config:
            near = difflib.get_close_matches(part, config.keys(), n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(config))}"
            raise UserError(f"--config.{key}: there is no key {part}; {hint}")
        config = config[part]
