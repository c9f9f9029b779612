"""Beam's options and the runner that they name."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners import PipelineRunner
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from imcap.errors import UserError


def choose(options: PipelineOptions) -> PipelineRunner | str:
    """Returns the runner, or its name for those that Beam makes itself."""
    # Beam's DirectRunner first tries to download another runner; this one is always there.
    return FnApiRunner() if is_local(options) else options.view_as(StandardOptions).runner


def is_local(options: PipelineOptions) -> bool:
    """Tells whether the job runs in this process, or in ones that it starts in its own folder."""
    return options.view_as(StandardOptions).runner in (None, "DirectRunner")


def absolute_paths(config: ConfigDict) -> ConfigDict:
    """Returns a copy of a config whose local paths hold for workers that start in other folders."""
    config = ConfigDict(config.to_dict())
    for part, key in (
        ("dataset", "dir"), ("encoder", "name"), ("encoder", "weights"), ("records", "dir"),
    ):  # fmt: skip
        path = config[part][key]
        if os.path.exists(path):
            config[part][key] = os.path.abspath(path)
    return config.lock()


def unknown_options(beam_args: Sequence[str]) -> list[str]:
    """Returns the arguments that Beam does not take.

    There are none for a runner elsewhere: its job server may add options of its own.

    Raises:
      UserError: an option has a value of the wrong type.
    """
    unknown: list[str] = []

    def look(parser: argparse.ArgumentParser) -> None:
        parser.error = _refuse
        unknown.extend(parser.parse_known_args(list(beam_args))[1])

    options = PipelineOptions(list(beam_args))
    options.get_all_options(add_extra_args_fn=look, retain_unknown_options=True)
    return unknown if is_local(options) else []


def _refuse(message: str) -> NoReturn:
    raise UserError(f"flags: {message}")
