"""Processes for tests: `imcap` as a user types it, or as a fork that starts at once."""

from __future__ import annotations

import dataclasses
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import imcap

ROOT = Path(imcap.__file__).parents[1]

# One server imports everything once; a fork of it needs no second to start. Nothing in it has run
# yet, neither TensorFlow nor Beam, so that forks are safe.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        "beam_jobs.build_records",
        "beam_jobs.caption_images",
        "imcap.serving.caption_files",
        "imcap.export",
        "imcap.inspect_records",
        "imcap.metrics.bleu",
        "imcap.metrics.cider",
        "imcap.metrics.rouge",
        "imcap.pretrain",
        "imcap.serving.server",
        "imcap.train",
    ]
)


@dataclasses.dataclass(frozen=True)
class Finished:
    """How a command ended: its exit status and what it wrote."""

    status: int
    out: str
    err: str


def run(*arguments: object) -> Finished:
    """Runs `imcap ARGUMENTS` as a user does."""
    with start(*arguments) as process:
        out, err = process.communicate(timeout=300)
    return Finished(process.returncode, out, err)


@contextmanager
def start(*arguments: object) -> Iterator[subprocess.Popen]:
    """Starts `imcap ARGUMENTS` as a user does; what still runs in the end is killed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "imcap", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def fork(function: Callable, *arguments: object) -> multiprocessing.process.BaseProcess:
    """Starts `function(*arguments)` in a fork."""
    process = _FORKS.Process(target=_call, args=(function, *arguments))
    process.start()
    return process


def _call(function: Callable, *arguments: object) -> None:
    """Calls a function in a fork whose garbage collections leave out what the server has imported:
    they would take longer, and copy its pages."""
    gc.freeze()
    function(*arguments)


def run_fork(*arguments: object) -> Finished:
    """Runs `imcap ARGUMENTS` in a fork, without the seconds that its imports take."""
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        process = fork(run_command_in_fork, list(map(str, arguments)), str(out), str(err))
        process.join()
        return Finished(process.exitcode, out.read_text(), err.read_text())


def run_command_in_fork(arguments: list[str], out: str, err: str) -> None:
    """What a fork does for `imcap ARGUMENTS`: its output goes to files."""
    for path, descriptor in ((out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
    # Tests that were started in the background have inherited that it is ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(ROOT)
    sys.argv = ["imcap", *arguments]
    from imcap import cli

    cli.main()
