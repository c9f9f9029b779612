"""Signals that ask a training to stop."""

from __future__ import annotations

import os
import signal
import threading

import processes
import pytest

from imcap.training.loop.signals import StopNow, StopSignals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_is_noted_and_handlers_come_back(number):
    before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
    with StopSignals() as signals:
        assert signals.received == ""
        os.kill(os.getpid(), number)
        assert signals.received == number.name
    assert {n: signal.getsignal(n) for n in before} == before


def end_twice(number: int) -> None:
    """Sends two signals to this process, which would then exit with 3."""
    # Tests that were started in the background have inherited that it is ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with StopSignals():
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)
    os._exit(3)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_ends_the_process(number):
    process = processes.fork(end_twice, int(number))
    process.join(60)
    assert process.exitcode == -number


def test_a_signal_ends_an_interruptible_part_and_no_other():
    with StopSignals() as signals:
        with signals.interruptible():
            pass
        with pytest.raises(StopNow), signals.interruptible():
            os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(StopNow), signals.interruptible():
            raise AssertionError("the signal came before")


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopSignals() as signals:
            os.kill(os.getpid(), signal.SIGINT)
            assert signals.received == ""
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_thread_leaves_signals_alone():
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def enter() -> None:
        with StopSignals():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [before]
