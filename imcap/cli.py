"""`imcap COMMAND`: flags in, one function call each, errors in one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from absl import flags
from ml_collections import config_flags

from imcap import config as config_lib
from imcap.errors import UserError

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Experiment file, such as configs/flickr8k.py; --config.KEY=VALUE changes it."
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder for all that the run makes.")
_SPLIT = flags.DEFINE_string("split", "dev", "eval: which split to caption and score.")
_DISTRIBUTE = flags.DEFINE_string(
    "distribute", "auto", "train: auto, none, mirrored (all devices) or multiworker (TF_CONFIG)."
)
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "records: start over in a used folder.")
_MODEL = flags.DEFINE_multi_string(
    "model", [], "caption: an exported model's folder; serve: NAME=FOLDER, may be repeated."
)
_TOP = flags.DEFINE_integer("top", 1, "caption: captions per photo.")
_JSON = flags.DEFINE_bool("json", False, "caption: print JSON lines.")
_HOST = flags.DEFINE_string("host", "127.0.0.1", "serve: the address to listen on.")
_PORT = flags.DEFINE_integer("port", 8501, "serve: the port to listen on.")
_MAX_BODY = flags.DEFINE_integer("max_body_mib", 64, "serve: largest request, in MiB.")
_THREADS = flags.DEFINE_integer("threads", 4, "serve: requests that the model works on at once.")


def records(beam_args: Sequence[str]) -> None:
    """photos and captions to TFRecords; also takes Beam's own options"""
    from beam_jobs import build_records

    build_records.run(_load_config(), beam_args, overwrite=_OVERWRITE.value)


def pretrain(_: Sequence[str]) -> None:
    """teach imcap's own CNN to see what the captions speak of"""
    from imcap import pretrain

    print(pretrain.run(_load_config(), _workdir()))


def train(_: Sequence[str]) -> None:
    """train the decoder, or go on where it stopped"""
    from imcap import train

    train.run(_load_config(), _workdir(), _DISTRIBUTE.value)


def evaluate(_: Sequence[str]) -> None:
    """caption and score a split"""
    from imcap import evaluate

    found = evaluate.run(_load_config(), _workdir(), _SPLIT.value)
    for name, value in found.as_dict().items():
        print(f"{name:10} {value:.4f}" if isinstance(value, float) else f"{name:10} {value}")
    print(os.path.join(_workdir(), "eval", _SPLIT.value, "report.html"))


def scores(workdirs: Sequence[str]) -> None:
    """print the scores found in workdirs as one table"""
    from imcap import metrics

    workdirs = workdirs or [_workdir()]
    print(metrics.table(workdirs))
    for workdir in workdirs:
        for split in metrics.read_all(workdir):
            print(os.path.join(workdir, "eval", split, "report.html"))


def export(_: Sequence[str]) -> None:
    """write the SavedModel: image bytes in, captions out"""
    from imcap import export

    print(export.run(_load_config(), _workdir()))


def caption(paths: Sequence[str]) -> int:
    """caption photos: files, folders or globs"""
    from imcap import captioner

    if not paths:
        raise UserError("imcap caption needs at least one file, folder or glob")
    if len(_MODEL.value) != 1:
        raise UserError("imcap caption needs one --model=FOLDER")
    return captioner.run(_MODEL.value[0], paths, _TOP.value, _JSON.value)


def inspect(folders: Sequence[str]) -> None:
    """verify a records folder and say what it holds"""
    from imcap import inspection

    if len(folders) != 1:
        raise UserError("imcap inspect needs one records folder")
    print("\n".join(inspection.run(folders[0])))


def serve(_: Sequence[str]) -> None:
    """answer TensorFlow Serving's REST API"""
    from imcap.serving import server

    models = dict(_named_model(value) for value in _MODEL.value)
    if not models:
        raise UserError("imcap serve needs --model=NAME=FOLDER, once for each model")
    server.serve(
        models, host=_HOST.value, port=_PORT.value, max_body_mib=_MAX_BODY.value,
        threads=_THREADS.value,
    )  # fmt: skip


COMMANDS: dict[str, Callable[[Sequence[str]], int | None]] = {
    "records": records,
    "pretrain": pretrain,
    "train": train,
    "eval": evaluate,
    "scores": scores,
    "export": export,
    "caption": caption,
    "inspect": inspect,
    "serve": serve,
}
_TAKES_ARGUMENTS = ("records", "scores", "caption", "inspect")


def main() -> None:
    """The console script: runs a command and exits with its status."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        sys.exit(0 if arguments else 2)
    if arguments[0] not in COMMANDS:
        _fail(f"there is no command {arguments[0]!r}: choose {', '.join(COMMANDS)}")
    command = arguments[0]
    _import_tensorflow()
    try:
        rest = _parse(command, arguments[1:])
        status = COMMANDS[command](rest)
    except UserError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        _fail("interrupted; the same command continues", status=130)
    except BrokenPipeError:
        # The reader of our output went away (as `head` does): nothing is left to tell it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    sys.exit(status or 0)


def _import_tensorflow() -> None:
    """Imports TensorFlow without the notices that its libraries print whatever the log level."""
    stderr = os.dup(2)
    with open(os.devnull, "w") as devnull:
        os.dup2(devnull.fileno(), 2)
    try:
        import tensorflow_text  # noqa: F401
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def usage() -> str:
    """Returns the help text: every command, every flag."""
    commands = "\n".join(f"  {name:9} {function.__doc__}" for name, function in COMMANDS.items())
    return f"imcap COMMAND [FLAGS]\n\n{commands}\n\nflags:\n{_flag_help()}"


def _flag_help() -> str:
    own = flags.FLAGS.flags_by_module_dict().get(__name__, [])
    return "\n".join(f"  --{flag.name}: {flag.help}" for flag in own)


def _parse(command: str, arguments: Sequence[str]) -> list[str]:
    """Parses the flags; returns what is left, and refuses what the command does not take."""
    try:
        rest = flags.FLAGS(["imcap", *arguments], known_only=command == "records")[1:]
        if _CONFIG.value is not None:
            _ = _CONFIG.value["seed"]  # A file that failed to load fails on its first use.
    except SyntaxError as error:
        raise UserError(f"--config: {error.filename}, line {error.lineno}: {error.msg}") from error
    except (flags.Error, LookupError, AttributeError, TypeError, ValueError, OSError) as error:
        raise UserError(f"flags: {_one_line(error)}") from error
    if rest and command not in _TAKES_ARGUMENTS:
        raise UserError(f"imcap {command} takes no {rest[0]!r}")
    return rest


def _one_line(error: Exception) -> str:
    is_key = isinstance(error, KeyError)  # Its str() is the repr of its argument.
    text = str(error.args[0]) if is_key else str(error)
    text = text.replace("\\n", "\n").replace("\\'", "'")
    return "; ".join(line.strip(" '\"") for line in text.splitlines() if line.strip())


def _workdir() -> str:
    if not _WORKDIR.value:
        raise UserError("--workdir=FOLDER is missing")
    return _WORKDIR.value


def _load_config() -> config_lib.ConfigDict:
    if _CONFIG.value is None:
        raise UserError("--config=FILE is missing, such as --config=configs/flickr8k.py")
    config = config_lib.resolve(_CONFIG.value, _workdir())
    config_lib.save(config, _workdir())
    return config


def _named_model(value: str) -> tuple[str, str]:
    name, _, folder = value.partition("=")
    if not name or not folder:
        raise UserError(f"--model={value} must be NAME=FOLDER")
    return name, folder


def _fail(message: str, status: int = 2) -> None:
    print(f"imcap: {message}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
