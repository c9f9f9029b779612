"""Beam's own options on a command line of `imcap`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from imcap.command_line import command_flags, console
from imcap.command_line.command_flags import Command
from imcap.errors import UserError


def check(command: Command, options: Sequence[str], commands: Iterable[Command]) -> None:
    """Raises UserError naming the first option that Beam does not take.

    Args:
      command: what the options were given to.
      options: the arguments that are not imcap's flags.
      commands: all commands; the message says which of them takes the option.
    """
    with console.quiet():
        from beam_jobs.runners import runner_options

    if unknown := runner_options.unknown_options(options):
        name = unknown[0].partition("=")[0]
        hint = command_flags.suggest(command, name.lstrip("-"), commands)
        raise UserError(f"neither imcap {command.name} nor Beam takes {name}{hint}")
