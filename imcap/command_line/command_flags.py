"""The flags: which there are, which command takes which, and the help that shows them."""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence

from absl import flags
from ml_collections import ConfigDict

from imcap import config as config_lib
from imcap.command_line import config_flags
from imcap.errors import UserError


@dataclasses.dataclass(frozen=True)
class Flag:
    """A flag: what defines it, its default, and what help shows for its value and says of it."""

    define: Callable[..., object]
    default: object
    placeholder: str
    help: str


FLAGS = {
    "workdir": Flag(flags.DEFINE_string, None, "DIR", "Folder for all that the run makes."),
    "distribute": Flag(
        flags.DEFINE_string, "auto", "NAME",
        "auto, none, mirrored (all devices) or multiworker (TF_CONFIG).",
    ),
    "keep_checkpoints": Flag(
        flags.DEFINE_string, "", "all|N",
        "Keep the weights after every epoch, or after the last N; the run's config remembers it.",
    ),
    "checkpoint": Flag(
        flags.DEFINE_multi_string, [], "best|last|EPOCH|DIR",
        "Which of the run's weights: the best by dev score, the last, or those that "
        "`imcap train --keep_checkpoints` kept after an epoch; or the folder of another run or of "
        "a checkpoint. Give it several times for an ensemble.",
    ),
    "dry_run": Flag(
        flags.DEFINE_bool, False, "", "Say what would be done and how long it takes; write nothing."
    ),
    "overwrite": Flag(flags.DEFINE_bool, False, "", "Start over in used output."),
    "check": Flag(
        flags.DEFINE_bool, False, "",
        "Load the export in a fresh process, compare its captions with the checkpoint's, and "
        "measure it; the figures go into its MODEL_CARD.md.",
    ),
    "ready": Flag(
        flags.DEFINE_string, "", "DIR",
        "Write a small folder without the encoder instead of the SavedModel, for "
        "`imcap caption --model=DIR`.",
    ),
    "weights": Flag(
        flags.DEFINE_string, "", "FILE",
        "For a ready model on a machine without network: Keras' weights file of its encoder, "
        "without top.",
    ),
    "split": Flag(
        flags.DEFINE_string, "dev", "NAME",
        "The split to caption and score; compare: the folder in both runs' eval/.",
    ),
    "output_dir": Flag(
        flags.DEFINE_string, "", "DIR",
        "A folder for compare.json and compare.html. Default: B's evaluation.",
    ),
    "model": Flag(
        flags.DEFINE_multi_string, [], "DIR",
        "An exported model: its folder, or a run's; or a ready model, such as flickr8k_resnet50. "
        "Give it once for each model to serve; NAME=DIR serves it under NAME.",
    ),
    "top": Flag(flags.DEFINE_integer, 1, "N", "Captions per image."),
    "json": Flag(flags.DEFINE_bool, False, "", "Print JSON lines."),
    "host": Flag(flags.DEFINE_string, "127.0.0.1", "HOST", "The address to listen on."),
    "port": Flag(flags.DEFINE_integer, 8501, "N", "The port to listen on; 0: any free one."),
    "samples": Flag(
        flags.DEFINE_string, "", "DIR", "A folder of images to choose from; without it: shapes."
    ),
    "max_image_mib": Flag(flags.DEFINE_integer, 32, "N", "Largest image file, in MiB."),
    "allow_private_addresses": Flag(
        flags.DEFINE_bool, False, "",
        "Also fetch images from this machine and from private networks, for any visitor.",
    ),
    "model_config_file": Flag(
        flags.DEFINE_string, "", "FILE", "Further models, in TensorFlow Serving's format."
    ),
    "poll_seconds": Flag(
        flags.DEFINE_float, 1.0, "S", "How often folders are looked at for new versions; 0: never."
    ),
    "threads": Flag(
        flags.DEFINE_integer, 0, "N", "CPU threads of the models; 0: a thread for each core."
    ),
    "max_batch_size": Flag(flags.DEFINE_integer, 32, "N", "Most images in a batch."),
    "batch_timeout_ms": Flag(
        flags.DEFINE_float, 2.0, "MS", "How long an idle model waits for more of a batch, in ms."
    ),
    "max_waiting": Flag(
        flags.DEFINE_integer, 256, "N", "Most requests that wait; further ones get status 503."
    ),
    "max_connections": Flag(flags.DEFINE_integer, 1000, "N", "Most open connections."),
    "max_instances": Flag(flags.DEFINE_integer, 1000, "N", "Most images of a request."),
    "max_body_mib": Flag(flags.DEFINE_integer, 64, "N", "Largest request, in MiB."),
    "max_image_megapixels": Flag(
        flags.DEFINE_integer, 100, "N", "Most pixels of an image, in millions."
    ),
    "request_timeout_s": Flag(
        flags.DEFINE_float, 60.0, "S", "How long a request may take once it is received, in s."
    ),
    "out": Flag(flags.DEFINE_string, "", "FILE", "caption: .jsonl or .csv; bench: a JSON file."),
    "sidecar": Flag(flags.DEFINE_bool, False, "", "Also write a .txt file beside each image."),
    "part_size": Flag(flags.DEFINE_integer, 512, "N", "With --out: images written at once."),
    "image_dir": Flag(
        flags.DEFINE_string, "", "DIR", "records, scale, caption, decode, serve: images' folder."
    ),
    "num_images": Flag(
        flags.DEFINE_integer, 3000, "N",
        "records, scale, caption and decode: images; notebook: images of each split.",
    ),
    "manifest_only": Flag(flags.DEFINE_bool, False, "", "scale: only what precedes the encoder."),
    "repeats": Flag(flags.DEFINE_integer, 3, "N", "Runs of each measurement."),
}  # fmt: skip
_CONFIG_HELP = {
    "--config=NAME": "The experiment: a file, or the name of a packaged one "
    f"({', '.join(config_flags.names())}); NAME:VARIANT chooses a variant. "
    "Default: the run's own, DIR/config.json.",
    "--config.KEY=VALUE": "Changes one setting, such as --config.train.epochs=8.",
}


@dataclasses.dataclass(frozen=True)
class Parsed:
    """A command line.

    Attributes:
      values: of the flags, as attributes.
      rest: the arguments that are not flags.
    """

    values: flags.FlagValues
    rest: list[str]
    _config: ConfigDict | None

    @property
    def workdir(self) -> str:
        """The run's folder; raises UserError if it is not given."""
        if not self.values.workdir:
            raise UserError("--workdir=DIR is missing")
        return self.values.workdir

    @property
    def given_config(self) -> ConfigDict:
        """The config, not resolved; raises UserError if there is none."""
        if self._config is None:
            workdir = self.values.workdir
            found = (
                f" ({os.path.join(workdir, config_lib.CONFIG_JSON)}: no file)" if workdir else ""
            )
            raise UserError(f"--config=NAME is missing, such as --config=flickr8k{found}")
        return self._config

    @property
    def config(self) -> ConfigDict:
        """The config, resolved; raises UserError if there is none or it cannot work."""
        return config_lib.resolve(self.given_config, self.workdir)


@dataclasses.dataclass(frozen=True)
class Command:
    """A command of `imcap`.

    Attributes:
      name: as it is typed.
      run: does the work; returns the exit status, None for 0.
      flag_names: which of `FLAGS` it takes.
      takes_config: whether it takes `--config`.
      arguments: how help shows its other arguments; empty: it takes none.
      takes_unknown: whether flags that are not imcap's are left in `Parsed.rest`.
      resumes: whether the same command continues after an interruption.
      defaults: of flags whose default is another than that of `FLAGS`.
    """

    name: str
    run: Callable[[Parsed], int | None]
    flag_names: tuple[str, ...]
    takes_config: bool = False
    arguments: str = ""
    takes_unknown: bool = False
    resumes: bool = False
    defaults: Mapping[str, object] = dataclasses.field(default_factory=dict)

    def default(self, flag_name: str) -> object:
        """The value of a flag that is not given."""
        return self.defaults.get(flag_name, FLAGS[flag_name].default)

    @property
    def summary(self) -> str:
        """What the command does, in a line."""
        return (self.run.__doc__ or "").strip()


def parse(command: Command, arguments: Sequence[str], commands: Iterable[Command]) -> Parsed:
    """Parses a command's arguments.

    Args:
      command: the command.
      arguments: what follows its name.
      commands: all commands; the message on a wrong flag says which of them takes it.

    Raises:
      UserError: a flag that the command does not take, a bad value, or a mistake in the config.
    """
    try:
        given = flags.FLAGS.read_flags_from_files(list(arguments), force_gnu=False)
        return _parse(command, [_expand_home(argument) for argument in given])
    except flags.UnrecognizedFlagError as error:
        hint = suggest(command, error.flagname, commands)
        raise UserError(f"imcap {command.name} takes no --{error.flagname}{hint}") from error
    except flags.Error as error:
        raise UserError(config_flags.summarize(error)) from error


def _parse(command: Command, arguments: list[str]) -> Parsed:
    config = None
    if command.takes_config:
        chosen, arguments = config_flags.take(arguments)
        workdir_flags = _define(command)
        workdir_flags(["imcap", *arguments], known_only=True)
        workdir = workdir_flags.workdir if "workdir" in command.flag_names else None
        config = config_flags.load(chosen, workdir or None)
    values = _define(command)
    if config is not None:
        config_flags.define_overrides(values, config, arguments)
    elif command.takes_config:
        # Nothing to change: the command itself says that --config is missing.
        arguments = [argument for argument in arguments if not config_flags.is_override(argument)]
    rest = values(["imcap", *arguments], known_only=command.takes_unknown)[1:]
    if rest and not command.arguments:
        raise UserError(f"imcap {command.name} takes no {rest[0]!r}")
    return Parsed(values, rest, config)


def _expand_home(argument: str) -> str:
    """Expands `~` in a flag's value: shells expand it only at the start of a word."""
    if not argument.startswith(("-", "~")):
        return argument
    # At the start of the argument or after an `=`.
    return re.sub(r"(?<![^=])~[\w.-]*(?=/|$)", lambda found: os.path.expanduser(found[0]), argument)


def _define(command: Command) -> flags.FlagValues:
    values = flags.FlagValues()
    for name in command.flag_names:
        flag = FLAGS[name]
        flag.define(name, command.default(name), flag.help, flag_values=values)
    return values


def suggest(command: Command, flag: str, commands: Iterable[Command]) -> str:
    """Returns what to say of a flag that `command` does not take: who takes it, or the nearest."""
    takers = [other.name for other in commands if flag in _names(other)]
    if takers:
        return f"; imcap {', '.join(takers)} {'take' if takers[1:] else 'takes'} it"
    near = difflib.get_close_matches(flag, _names(command), n=1)
    return f"; did you mean --{near[0]}?" if near else ""


def _names(command: Command) -> list[str]:
    return [*command.flag_names, *(["config"] if command.takes_config else [])]


def usage(commands: Mapping[str, Command]) -> str:
    """Returns the help text of `imcap`: every command."""
    lines = "\n".join(f"  {name:9} {command.summary}" for name, command in commands.items())
    return (
        f"imcap COMMAND [FLAGS]\n\n{lines}\n\n"
        "imcap COMMAND --help shows a command's flags, imcap --version the version."
    )


def command_usage(command: Command) -> str:
    """Returns the help text of a command: its flags with their defaults."""
    entries = dict(_CONFIG_HELP) if command.takes_config else {}
    for name in command.flag_names:
        flag = FLAGS[name]
        shown = f"--{name}={flag.placeholder}" if flag.placeholder else f"--{name}"
        default = command.default(name)
        is_shown = default not in (None, "", [], False)
        entries[shown] = flag.help + (f" Default: {default}." if is_shown else "")
    arguments = f" {command.arguments}" if command.arguments else ""
    body = "\n".join(
        f"  {shown}\n{textwrap.fill(text, 88, initial_indent=' ' * 6, subsequent_indent=' ' * 6)}"
        for shown, text in entries.items()
    )
    return f"imcap {command.name}{arguments} [FLAGS]\n\n{command.summary}\n\n{body}"
