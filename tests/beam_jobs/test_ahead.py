"""Work that runs ahead in a thread."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import processes
import pytest

from beam_jobs.ahead import ahead


def wait_until(condition) -> bool:
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    return condition()


@pytest.mark.parametrize("buffer", [1, 3, 100])
def test_items_come_in_their_order(buffer):
    assert list(ahead(range(20), buffer)) == list(range(20))
    assert list(ahead([], buffer)) == []


def test_no_more_is_computed_than_the_buffer_holds():
    begun = []
    items = ahead((begun.append(n) or n for n in range(100)), 2)
    assert wait_until(lambda: len(begun) == 3)  # Two wait in the buffer, one for room.
    time.sleep(0.05)
    assert len(begun) == 3
    assert next(items) == 0
    assert wait_until(lambda: len(begun) == 4)
    items.close()


def test_what_the_work_raises_is_raised_in_its_place():
    def work():
        yield 1
        raise KeyError("lost")

    items = ahead(work(), 5)
    assert next(items) == 1
    with pytest.raises(KeyError, match="lost"):
        next(items)


@pytest.mark.parametrize("taken", [1, 2])
def test_closing_ends_the_thread(taken):
    before = threading.active_count()
    items = ahead(iter(int, 1), 2)  # Zeros without end.
    for _ in range(taken):
        next(items)
    assert threading.active_count() == before + 1
    items.close()
    assert threading.active_count() == before


def test_a_thread_at_work_does_not_break_the_end_of_the_process():
    script = (
        "import sys, tensorflow as tf\n"
        "from beam_jobs.ahead import ahead\n"
        "data = tf.data.Dataset.range(10**9).map(lambda x: tf.random.uniform([200, 200]) @"
        " tf.random.uniform([200, 200]))\n"
        "one, two = ahead(data, 10**6), ahead(ahead(data, 2), 2)\n"
        "next(one), next(two)\n"
        "sys.exit(2)\n"
    )
    command = [sys.executable, "-c", script]
    ended = subprocess.run(command, cwd=processes.ROOT, capture_output=True, timeout=120)
    assert ended.returncode == 2, ended.stderr
