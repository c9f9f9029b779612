"""What a command shows beside its results: imcap's log on stderr, and nothing of the libraries'."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import sys
from collections.abc import Iterator

import tqdm
from absl import logging as absl_logging

import imcap

_OURS = ("imcap", "beam_jobs")
# TensorFlow's warning about an export: gradients are left out, as captions need none.
_NO_GRADIENTS = "ops with unsaved custom gradients"


def show_log() -> None:
    """Shows what imcap logs from INFO on, and what libraries log with absl from WARNING on."""
    handler = _Handler()
    handler.addFilter(_is_wanted)
    logger = logging.getLogger("absl")
    logger.handlers = [handler]
    logger.propagate = False
    absl_logging.set_verbosity(absl_logging.INFO)


def _is_wanted(record: logging.LogRecord) -> bool:
    if _NO_GRADIENTS in str(record.msg):
        return False
    return record.levelno >= logging.WARNING or _is_ours(record.pathname)


def _is_ours(path: str) -> bool:
    root = os.path.dirname(os.path.dirname(os.path.abspath(imcap.__file__)))
    return os.path.relpath(path, root).split(os.sep)[0] in _OURS


class _Handler(logging.Handler):
    """Writes the message alone, without breaking a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        prefix = "warning: " if record.levelno >= logging.WARNING else ""
        tqdm.tqdm.write(prefix + record.getMessage(), file=sys.stderr)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Discards what is written to stderr while libraries are imported, without garbage collections.

    TensorFlow's C++ code writes there as it is loaded, before its log level is read (that it uses
    oneDNN, that there is no GPU), and Beam warns of cloud libraries that are not installed. Only
    redirecting the descriptor stops the former. A quarter of the time of these imports would be
    collections that find nothing; later ones leave out what was imported.
    """
    collects = gc.isenabled()
    gc.disable()
    stderr = os.dup(2)
    with open(os.devnull, "w") as devnull:
        os.dup2(devnull.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        if collects:
            gc.freeze()
            gc.enable()


def import_tensorflow() -> None:
    """Imports TensorFlow, without the lines that it logs."""
    with quiet():
        import tensorflow  # noqa: F401
