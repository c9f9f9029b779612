"""`imcap COMMAND`: flags in, one function call each, errors in one line."""

from __future__ import annotations

import contextlib
import difflib
import functools
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from absl import flags
from ml_collections import config_flags

from imcap import config as config_lib
from imcap import runtime
from imcap.errors import UserError

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Experiment file, such as configs/flickr8k.py; --config.KEY=VALUE changes it."
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder for all that the run makes.")
_CONFIG_MODULE = "config_config"  # What ml_collections calls the module of --config's file.
_SPLIT = flags.DEFINE_string("split", "dev", "eval: which split to caption and score.")
_DISTRIBUTE = flags.DEFINE_string(
    "distribute", "auto", "train: auto, none, mirrored (all devices) or multiworker (TF_CONFIG)."
)
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "records: say what would be done, and do nothing.")
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "records: start over in a used folder.")
_MODEL = flags.DEFINE_multi_string(
    "model", [], "caption: an exported model's folder; serve: NAME=FOLDER, may be repeated."
)
_TOP = flags.DEFINE_integer("top", 1, "caption: captions per photo.")
_JSON = flags.DEFINE_bool("json", False, "caption: print JSON lines.")
_HOST = flags.DEFINE_string("host", "127.0.0.1", "serve: the address to listen on.")
_PORT = flags.DEFINE_integer("port", 8501, "serve: the port to listen on.")
_MAX_BODY = flags.DEFINE_integer("max_body_mib", 64, "serve: largest request, in MiB.")
_OUT = flags.DEFINE_string("out", "", "bench: a JSON file for the figures.")
_PHOTOS = flags.DEFINE_string("photos", "", "bench records and scale: a folder of photos.")
_IMAGES = flags.DEFINE_integer("images", 3000, "bench records and scale: photos encoded.")
_REPEATS = flags.DEFINE_integer("repeats", 3, "bench: runs of each measurement.")
_THREADS = flags.DEFINE_integer("threads", 4, "serve: requests that the model works on at once.")


def records(beam_args: Sequence[str]) -> None:
    """photos and captions to TFRecords; also takes Beam's own options"""
    if beam_args:
        _refuse_unknown(beam_args)
    config = _load_config()
    with _quiet():
        from beam_jobs import build_records

    runtime.assume_frozen_weights()  # A dry run times the CNN.
    if _DRY_RUN.value:
        print("\n".join(build_records.dry_run(config)))
        return
    runtime.share_one_heap()
    info = build_records.build_records(config, beam_args, overwrite=_OVERWRITE.value)
    print("\n".join(build_records.summarize(config.records.dir, info)))


def _refuse_unknown(beam_args: Sequence[str]) -> None:
    with _quiet():
        from beam_jobs.runners import runner_options

    for option in runner_options.unknown_options(beam_args):
        name = option.partition("=")[0]
        near = difflib.get_close_matches(name, [f"--{flag}" for flag in flags.FLAGS], n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UserError(f"neither imcap records nor Beam takes {name}{hint}")


def pretrain(_: Sequence[str]) -> None:
    """teach imcap's own CNN to see what the captions speak of"""
    config = _load_config()
    with _quiet():
        from imcap import pretrain

    print(pretrain.pretrain_encoder(config, _workdir()))


def train(_: Sequence[str]) -> None:
    """train the decoder, or go on where it stopped"""
    runtime.share_one_heap()
    config = _load_config()
    with _quiet():
        from imcap import train

    train.train_and_evaluate(config, _workdir(), _DISTRIBUTE.value)


def evaluate(_: Sequence[str]) -> None:
    """caption and score a split"""
    config = _load_config()
    with _quiet():
        from imcap import evaluate

    found = evaluate.evaluate_split(config, _workdir(), _SPLIT.value)
    for name, value in found.as_dict().items():
        print(f"{name:10} {value:.4f}" if isinstance(value, float) else f"{name:10} {value}")
    print(os.path.join(_workdir(), "eval", _SPLIT.value, "report.html"))


def scores(workdirs: Sequence[str]) -> None:
    """print the scores found in workdirs as one table"""
    from imcap.metrics import tables

    workdirs = workdirs or [_workdir()]
    print(tables.format_table(workdirs))
    for workdir in workdirs:
        for split in tables.read_scores(workdir):
            print(os.path.join(workdir, "eval", split, "report.html"))


def export(_: Sequence[str]) -> None:
    """write the SavedModel: image bytes in, captions out"""
    config = _load_config()
    with _quiet():
        from imcap import export

    print(export.export_model(config, _workdir()))


def caption(paths: Sequence[str]) -> int:
    """caption photos: files, folders or globs"""
    from imcap.serving import caption_files, captioner

    if not paths:
        raise UserError("imcap caption needs at least one file, folder or glob")
    if len(_MODEL.value) != 1:
        raise UserError("imcap caption needs one --model=FOLDER")
    images = caption_files.find_images(paths)
    _import_tensorflow()
    model = captioner.Captioner(_MODEL.value[0])
    to_line = caption_files.json_line if _JSON.value else caption_files.text_lines
    sys.stdout.reconfigure(errors="backslashreplace")  # File names may be any bytes.
    failed = 0
    for result in caption_files.caption_paths(model, images, top=_TOP.value):
        if result.error is None:
            print(to_line(result), flush=True)
        else:
            failed = 1
            print(f"{result.path}: {result.error}", file=sys.stderr, flush=True)
    return failed


def inspect(folders: Sequence[str]) -> None:
    """verify a records folder and say what it holds"""
    if len(folders) != 1:
        raise UserError("imcap inspect needs one records folder")
    with _quiet():
        from imcap import inspect_records

    print("\n".join(inspect_records.inspect_records(folders[0])))


def serve(_: Sequence[str]) -> None:
    """answer TensorFlow Serving's REST API"""
    from imcap.serving import server

    models = dict(_named_model(value) for value in _MODEL.value)
    if not models:
        raise UserError("imcap serve needs --model=NAME=FOLDER, once for each model")
    _import_tensorflow()
    server.serve(
        models, host=_HOST.value, port=_PORT.value, max_body_mib=_MAX_BODY.value,
        threads=_THREADS.value, announce=functools.partial(print, flush=True),
    )  # fmt: skip


def bench(names: Sequence[str]) -> None:
    """measure: records, scale or input, beside a limit or a peer of the same run"""
    with _quiet():
        from imcap.benchmarks import common, input, records, scale

    if list(names) == ["records"]:
        if not _PHOTOS.value:
            raise UserError("imcap bench records needs --photos=FOLDER")
        rows = records.benchmark_records(
            _PHOTOS.value, _config_file().encoder, _IMAGES.value, _REPEATS.value
        )
    elif list(names) == ["scale"]:
        rows = scale.benchmark_scale(_PHOTOS.value, _config_file().encoder, _IMAGES.value)
    elif list(names) == ["input"]:
        rows = input.benchmark_input(_load_config(), _REPEATS.value)
    else:
        raise UserError("imcap bench needs the name of one benchmark: records, scale or input")
    print(common.format_table(rows))
    if _OUT.value:
        common.write_json(_OUT.value, names[0], rows)


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
    "bench": bench,
}
_TAKES_ARGUMENTS = ("records", "scores", "caption", "inspect", "bench")


def main() -> None:
    """The console script: runs a command and exits with its status."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] == "help" or {"-h", "--help"} & set(arguments):
        print(usage())
        sys.exit(0 if arguments else 2)
    if arguments[0] not in COMMANDS:
        _fail(f"there is no command {arguments[0]!r}: choose {', '.join(COMMANDS)}")
    command = arguments[0]
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


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps back what libraries print on import, whatever the log level: no user can act on it."""
    stderr = os.dup(2)
    with open(os.devnull, "w") as devnull:
        os.dup2(devnull.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def _import_tensorflow() -> None:
    with _quiet():
        import tensorflow_text  # noqa: F401


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
        # A file that failed to load fails on its first use.
        is_config = _CONFIG.value is None or "seed" in _CONFIG.value
    except Exception as error:  # The config file is a program: it may raise anything.
        raise UserError(_flag_error(error)) from error
    if not is_config:
        raise UserError("--config: get_config() must return imcap.config.default(), changed")
    if rest and command not in _TAKES_ARGUMENTS:
        raise UserError(f"imcap {command} takes no {rest[0]!r}")
    return rest


def _flag_error(error: BaseException) -> str:
    """Returns in one line what is wrong with the flags, or where in the config file."""
    chain = [error]
    while deeper := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(deeper)
    place = max(map(_line_in_config, chain))
    if near := re.search(r'Did you mean "(\w+)" instead of "(\w+)"', " ".join(map(str, chain))):
        return f"--config: {place}there is no key {near[2]}; did you mean {near[1]}?"
    for found in reversed(chain):
        if isinstance(found, SyntaxError):
            return f"--config: {found.filename}, line {found.lineno}: {found.msg}"
        if isinstance(found, OSError):
            return f"--config: {str(found).splitlines()[-1].strip()}"
        if isinstance(found, KeyError):  # Its str() is the repr of its argument.
            return f"--config: {place}there is no key: {_brief(str(found.args[0]))}"
        if _line_in_config(found):
            kind = "" if isinstance(found, UserError) else f"{type(found).__name__}: "
            return f"--config: {place}{kind}{_brief(str(found))}"
    return f"flags: {_brief(str(error))}"


def _line_in_config(error: BaseException) -> str:
    """Returns `FILE, line N: ` if an exception came out of the config file, else nothing."""
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        if frame.f_globals.get("__name__") == _CONFIG_MODULE:
            return f"{frame.f_code.co_filename}, line {line}: "
    return ""


def _brief(text: str) -> str:
    return (text.splitlines() or [""])[0].partition(" Other fields present")[0]


def _workdir() -> str:
    if not _WORKDIR.value:
        raise UserError("--workdir=FOLDER is missing")
    return _WORKDIR.value


def _config_file() -> config_lib.ConfigDict:
    if _CONFIG.value is None:
        raise UserError("--config=FILE is missing, such as --config=configs/flickr8k.py")
    return _CONFIG.value


def _load_config() -> config_lib.ConfigDict:
    config = config_lib.resolve(_config_file(), _workdir())
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
