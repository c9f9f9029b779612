"""How tests look at a refusal: one line, whatever was wrong."""

from __future__ import annotations

from collections.abc import Callable

import processes
import pytest

from imcap.errors import UserError


def refusal(function: Callable, *arguments: object, **options: object) -> str:
    """Returns the one line with which `function` refuses."""
    with pytest.raises(UserError) as caught:
        function(*arguments, **options)
    line = str(caught.value)
    assert "\n" not in line
    return line


def command_refusal(finished: processes.Finished) -> str:
    """Checks that a command ended as one does that is refused; returns its message."""
    assert finished.status == 2
    assert finished.out == ""
    (line,) = finished.err.splitlines()
    assert line.startswith("imcap: ")
    return line.removeprefix("imcap: ")
