"""How a command ends early: mistakes that a user can fix, divergence, interruption; and other
exceptions in one line."""

from __future__ import annotations

import re


class UserError(ValueError):
    """A wrong file, row, flag or setting: its message is one line that names it and how to fix it.

    `imcap` prints the message without a traceback and exits with status 2.
    """


class DivergenceError(ArithmeticError):
    """A training's loss or gradients are no longer finite: one line says where and what to try.

    `imcap` prints the message without a traceback and exits with status 1.
    """


class Interrupted(Exception):
    """Work was asked to stop, and has saved what it had: one line says how to continue.

    `imcap` prints the message and exits with status 0.
    """


def first_line(error: BaseException) -> str:
    """Returns the first line of an exception's message, or its class's name where it has none.

    For messages of Keras and others that begin with what is wrong and go on with details.
    """
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def one_line(error: BaseException) -> str:
    """Returns what an exception says in one line, without TensorFlow's graph and node names.

    Of an assertion in a graph it is the assertion's message; of an OSError its reason.
    """
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = str(getattr(error, "message", None) or error)
    asserted = re.search(r"assertion failed: \[(.*?)\]|Summarized data: b'(.*?)'", text)
    if asserted:
        return asserted[1] or asserted[2]
    text = re.split(r"\[\[\{\{|\s*\[Op:", text)[0]
    text = re.sub(r"\{\{function_node .*?\}\}\s*|^\(\d+\) [A-Z_]+:\s*", "", text, flags=re.M)
    # A trace of where the graph was made may come first.
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
