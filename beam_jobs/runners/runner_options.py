"""Beam's options and the runner that they name."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import NoReturn

from apache_beam import runners
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from ml_collections import ConfigDict

from imcap import filesystem
from imcap.datasets import selection
from imcap.errors import UserError


def create_runner(options: PipelineOptions) -> runners.PipelineRunner:
    """Returns the runner that `--runner` names; raises UserError if there is none."""
    if is_local(options):
        # Beam's DirectRunner first tries to download another runner; this one is always there.
        return FnApiRunner()
    name = options.view_as(StandardOptions).runner
    try:
        return runners.create_runner(name)
    except (ValueError, ImportError, AttributeError) as error:
        raise UserError(f"--runner={name}: {error}") from error


def is_local(options: PipelineOptions) -> bool:
    """Tells whether the job runs in this process, or in ones that it starts in its own folder."""
    return options.view_as(StandardOptions).runner in (None, "DirectRunner")


def absolute_paths(config: ConfigDict) -> ConfigDict:
    """Returns a copy of a config whose local paths hold for workers that start in other folders."""
    config = ConfigDict(config.to_dict())
    for part in (config.dataset, config.records):
        if part.dir and not filesystem.is_remote(part.dir):
            part.dir = os.path.abspath(part.dir)
    lists = selection.list_paths(config.dataset.exclude)
    config.dataset.exclude = ",".join(
        path if filesystem.is_remote(path) else os.path.abspath(path) for path in lists
    )
    for key in ("name", "weights"):
        # Without an extension it is the name of a network, or of weights that Keras fetches.
        if os.path.splitext(config.encoder[key])[1] and os.path.isfile(config.encoder[key]):
            config.encoder[key] = os.path.abspath(config.encoder[key])
    return config.lock()


def unknown_options(beam_args: Sequence[str]) -> list[str]:
    """Returns the arguments that Beam does not take.

    For a runner on other machines it returns none: its job server may add options.

    Raises:
      UserError: an option has a value of the wrong type.
    """
    unknown: list[str] = []

    def parse(parser: argparse.ArgumentParser) -> None:
        parser.error = _refuse  # type: ignore[method-assign]
        unknown.extend(parser.parse_known_args(list(beam_args))[1])

    options = PipelineOptions(list(beam_args))
    options.get_all_options(add_extra_args_fn=parse, retain_unknown_options=True)
    return unknown if is_local(options) else []


def _refuse(message: str) -> NoReturn:
    raise UserError(f"flags: {message}")
