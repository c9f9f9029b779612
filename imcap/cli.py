"""`imcap COMMAND`: flags in, one function call each, results on stdout, errors in one line."""

from __future__ import annotations

import functools
import io
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

# Before TensorFlow is imported anywhere.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import imcap
from imcap import runtime
from imcap.command_line import beam_options, caption_command, captioners, command_flags, console
from imcap.command_line.command_flags import Parsed
from imcap.errors import DivergenceError, Interrupted, UserError

_Run = Callable[[Parsed], int | None]
COMMANDS: dict[str, command_flags.Command] = {}


def command(name: str, flag_names: str = "", **options: Any) -> Callable[[_Run], _Run]:
    """Registers a function as a command that takes some of `command_flags.FLAGS`."""

    def register(run: _Run) -> _Run:
        COMMANDS[name] = command_flags.Command(name, run, tuple(flag_names.split()), **options)
        return run

    return register


@command(
    "records", "workdir dry_run overwrite",
    takes_config=True, takes_unknown=True, resumes=True, arguments="[Beam's options]",
)  # fmt: skip
def records(parsed: Parsed) -> None:
    """images and captions to TFRecords; also takes Beam's own options"""
    with console.quiet():
        from beam_jobs import build_records

    beam_options.check(COMMANDS["records"], parsed.rest, COMMANDS.values())
    config = parsed.config
    runtime.assume_frozen_weights()  # A dry run times the encoder.
    if parsed.values.dry_run:
        print("\n".join(build_records.dry_run(config, parsed.rest, workdir=parsed.workdir)))
        return
    runtime.share_one_heap()
    info = build_records.build_records(
        config, parsed.rest, workdir=parsed.workdir, overwrite=parsed.values.overwrite
    )
    print("\n".join(build_records.summarize(config.records.dir, info)))


@command("pretrain", "workdir", takes_config=True, resumes=True)
def pretrain(parsed: Parsed) -> None:
    """train imcap's own CNN on the captions' words"""
    config = parsed.config
    with console.quiet():
        from imcap import pretrain

    print(pretrain.pretrain_encoder(config, parsed.workdir))


@command("train", "workdir distribute keep_checkpoints", takes_config=True, resumes=True)
def train(parsed: Parsed) -> None:
    """train the decoder, or continue where it stopped"""
    runtime.share_one_heap()
    if parsed.values.keep_checkpoints:
        parsed.given_config.train.keep_checkpoints = parsed.values.keep_checkpoints
    config = parsed.config
    with console.quiet():
        from imcap import train

    train.train_and_evaluate(config, parsed.workdir, parsed.values.distribute)


@command("eval", "workdir split checkpoint", takes_config=True, defaults={"checkpoint": "best"})
def evaluate(parsed: Parsed) -> None:
    """caption and score a split"""
    config, workdir, split = parsed.config, parsed.workdir, parsed.values.split
    with console.quiet():
        from imcap import evaluate
        from imcap.metrics import tables

    checkpoint = parsed.values.checkpoint
    scores = evaluate.evaluate_split(config, workdir, split, checkpoint)
    print(tables.format_scores(scores.as_dict(), scores.intervals))
    print(evaluate.report_path(config, workdir, split, checkpoint))


@command("compare", "split output_dir", arguments="A B")
def compare(parsed: Parsed) -> None:
    """compare two evaluations, of runs' or eval/SPLIT folders: paired tests, image by image"""
    if len(parsed.rest) != 2:
        raise UserError("imcap compare needs two runs, or their eval/SPLIT folders")
    from imcap import compare

    values = parsed.values
    found = compare.compare_runs(*parsed.rest, split=values.split, output_dir=values.output_dir)
    print(compare.format_comparison(found))
    print(found.page)


@command("scores", "workdir", arguments="[WORKDIR …]")
def scores(parsed: Parsed) -> None:
    """print the scores found in workdirs as one table"""
    from imcap.metrics import files, tables

    given = [parsed.values.workdir] if parsed.values.workdir else []
    workdirs = [*given, *parsed.rest] or [parsed.workdir]
    print(tables.format_table(workdirs))
    for workdir in workdirs:
        for split in files.read_scores(workdir):
            print(os.path.join(files.folder(workdir, split), "report.html"))


@command(
    "export", "workdir checkpoint check ready", takes_config=True, defaults={"checkpoint": "best"}
)
def export(parsed: Parsed) -> None:
    """write the SavedModel: image bytes in, captions out"""
    config, values = parsed.config, parsed.values
    with console.quiet():
        from imcap import export

    if values.ready:
        export.write_ready_model(config, parsed.workdir, values.ready, values.checkpoint)
        print(values.ready)
        return
    print(export.export_model(config, parsed.workdir, values.checkpoint, check=values.check))


@command(
    "caption", "model checkpoint weights top json out sidecar overwrite part_size",
    takes_unknown=True, arguments="IMAGE… [Beam's options]",
)  # fmt: skip
def caption(parsed: Parsed) -> int:
    """caption images: files, folders or globs; any number of them with --out or --sidecar"""
    from imcap.serving import caption_files

    values = parsed.values
    images, options = caption_command.split_arguments(parsed.rest)
    if options:
        beam_options.check(COMMANDS["caption"], options, COMMANDS.values())
    if values.out or values.sidecar:
        lines, failed = caption_command.run_job(parsed, images, options)
        print(lines)
        return min(failed, 1)
    if options:
        raise UserError(f"{options[0]} is for a job: --out=FILE or --sidecar is missing")
    captioners.find(values.model, values.checkpoint, values.weights)  # Before folders are listed.
    found = caption_files.find_images(images)
    model = captioners.load(values.model, values.checkpoint, values.weights)
    to_line = caption_files.json_line if parsed.values.json else caption_files.text_lines
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # File names may be any bytes.
    failed = 0
    for result in caption_files.caption_paths(model, found, top=parsed.values.top):
        if result.error is None:
            print(to_line(result), flush=True)
        else:
            failed = 1
            print(f"{result.path}: {result.error}", file=sys.stderr, flush=True)
    return failed


@command("inspect", arguments="DIR")
def inspect(parsed: Parsed) -> None:
    """verify a records folder, or a run's, and say what it holds"""
    if len(parsed.rest) != 1:
        raise UserError("imcap inspect needs one records folder, or a run's folder")
    with console.quiet():
        from imcap import inspect_records

    folder = inspect_records.find_records(parsed.rest[0])
    print("\n".join(inspect_records.inspect_records(folder)))


@command(
    "serve",
    "model weights model_config_file poll_seconds host port threads max_batch_size max_waiting "
    "batch_timeout_ms max_connections max_instances max_body_mib max_image_mib "
    "max_image_megapixels request_timeout_s",
)
def serve(parsed: Parsed) -> None:
    """answer TensorFlow Serving's REST API"""
    from imcap.serving import saved_model, server

    values = parsed.values
    models = saved_model.models_by_name(values.model)
    if not models and not values.model_config_file:
        raise UserError("imcap serve needs --model=DIR or --model=NAME=DIR, once for each model")
    runtime.assume_frozen_weights()
    runtime.keep_large_blocks()
    console.import_tensorflow()
    limits = server.Limits(**{n: getattr(values, n) for n in server.Limits.__dataclass_fields__})
    runtime.limit_threads(values.threads)
    server.serve(
        captioners.find_exports(models, values.weights), host=values.host, port=values.port,
        limits=limits, model_config_file=values.model_config_file, poll_seconds=values.poll_seconds,
        announce=functools.partial(print, flush=True),
    )  # fmt: skip


@command(
    "app", "model weights host port samples max_image_mib allow_private_addresses",
    defaults={"port": 8502},
)  # fmt: skip
def app(parsed: Parsed) -> None:
    """show a web page that captions images with one or more models"""
    from imcap.serving import app_server, saved_model

    values = parsed.values
    models = saved_model.models_by_name(values.model)
    if not models:
        raise UserError("imcap app needs --model=DIR or --model=NAME=DIR, once for each model")
    app_server.run(
        captioners.find_exports(models, values.weights), host=values.host, port=values.port,
        samples=values.samples, max_image_mib=values.max_image_mib,
        allow_private_addresses=values.allow_private_addresses,
        announce=functools.partial(print, flush=True),
    )  # fmt: skip


@command(
    "bench", "workdir checkpoint model image_dir num_images manifest_only repeats out",
    takes_config=True, arguments="records|scale|input|train|decode|caption|notebook|serve",
    defaults={"checkpoint": "best"},
)  # fmt: skip
def bench(parsed: Parsed) -> None:
    """measure something beside a limit or a peer of the same run"""
    with console.quiet():
        from imcap import benchmarks
        from imcap.benchmarks import common

    if len(parsed.rest) != 1 or parsed.rest[0] not in benchmarks.NAMES:
        raise UserError(f"imcap bench needs one name: {', '.join(benchmarks.NAMES)}")
    (name,), values = parsed.rest, parsed.values
    is_of_run = name in ("input", "train") or (name == "decode" and values.workdir)
    rows = benchmarks.measure(
        name, parsed.config if is_of_run else None if name == "serve" else parsed.given_config,
        image_dir=values.image_dir, num_images=values.num_images, repeats=values.repeats,
        workdir=values.workdir or "", checkpoint=values.checkpoint, models=values.model,
        manifest_only=values.manifest_only,
    )  # fmt: skip
    print(common.format_table(rows))
    if values.out:
        common.write_json(values.out, name, rows)


def main() -> NoReturn:
    """The console script: runs a command and exits with its status."""
    name, *arguments = sys.argv[1:] or [""]
    if name in ("--help", "-h", "help") and arguments:
        name, arguments = arguments[0], ["--help"]
    if name in ("", "--help", "-h", "help"):
        print(command_flags.usage(COMMANDS))
        sys.exit(0 if name else 2)
    if name == "--version":
        print(f"imcap {imcap.__version__}")
        sys.exit(0)
    if name not in COMMANDS:
        _fail(f"there is no command {name!r}: choose {', '.join(COMMANDS)}")
    if {"-h", "--help"} & set(arguments):
        print(command_flags.command_usage(COMMANDS[name]))
        sys.exit(0)
    sys.exit(_run(COMMANDS[name], arguments))


def _run(chosen: command_flags.Command, arguments: list[str]) -> int:
    console.show_log()
    try:
        parsed = command_flags.parse(chosen, arguments, COMMANDS.values())
        return chosen.run(parsed) or 0
    except UserError as error:
        _fail(str(error))
    except DivergenceError as error:
        _fail(str(error), status=1)
    except Interrupted as stop:
        print(f"imcap: {stop}", file=sys.stderr)
        return 0
    except KeyboardInterrupt as stop:
        hint = "; the same command continues" if chosen.resumes or stop.args else ""
        _fail(f"interrupted{hint}", status=130)
    except BrokenPipeError:
        # The reader of our output is gone (as `head` is after its last line): nothing to tell it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _fail(message: str, status: int = 2) -> NoReturn:
    print(f"imcap: {message}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
