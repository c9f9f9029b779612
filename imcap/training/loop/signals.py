"""Signals that ask a training to stop: it ends at a step boundary instead of anywhere."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopNow(BaseException):
    """A signal has come within `StopSignals.interruptible`."""


class StopSignals:
    """A context in which the first SIGTERM or Ctrl-C is only noted; the second ends the process.

    Python handles signals in its main thread alone: in any other one they end the process.

    Attributes:
      received: the first signal's name, empty before it.
    """

    def __init__(self) -> None:
        """Handles no signal yet."""
        self.received = ""
        self._raises = False
        self._previous: dict[signal.Signals, object] = {}

    def __enter__(self) -> StopSignals:
        """Begins to note signals, but those that this process ignores."""
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if signal.getsignal(number) != signal.SIG_IGN:
                    self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        """Gives the signals back to their previous handlers."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """A part that a signal ends by StopNow, as nothing of it has to be saved."""
        self._raises = True
        try:
            if self.received:
                raise StopNow
            yield
        finally:
            self._raises = False

    def _note(self, number: int, _: FrameType | None) -> None:
        self.received = signal.Signals(number).name
        for known in self._previous:
            signal.signal(known, signal.SIG_DFL)
        if self._raises:
            raise StopNow
