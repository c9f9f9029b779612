"""Results of futures in order, with a bounded number of them running."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import processes
import pytest

from imcap.prefetch import in_order


@pytest.fixture
def threads():
    with ThreadPoolExecutor(4) as pool:
        yield pool


@pytest.mark.parametrize("window", [1, 3, 100])
def test_results_come_in_their_order_whoever_is_first(threads, window):
    def work(n: int) -> int:
        time.sleep(0.01 * (n % 3 == 0))
        return n

    assert list(in_order((threads.submit(work, n) for n in range(20)), window)) == list(range(20))
    assert list(in_order(iter([]), window)) == []


def test_as_many_begin_at_once_as_the_window_holds_and_one_more_for_each_taken(threads):
    begun = []
    results = in_order((threads.submit(begun.append, n) for n in range(100)), 3)
    threads.shutdown()
    assert sorted(begun) == [0, 1, 2]  # The threads begin in any order.
    with pytest.raises(RuntimeError, match="after shutdown"):  # It asks for the fourth.
        next(results)


def test_what_the_work_raises_is_raised_in_its_place(threads):
    results = in_order((threads.submit(divmod, 6, n) for n in (2, 3, 0, 1)), 4)
    assert [next(results), next(results)] == [(3, 0), (2, 0)]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_work_that_nobody_will_take_is_not_done(threads):
    done = []

    def work(n: int) -> None:
        time.sleep(0.05)
        done.append(n)

    results = in_order((threads.submit(work, n) for n in range(100)), 20)
    next(results)
    results.close()
    threads.shutdown()
    assert len(done) < 10  # What was under way by then.


def test_work_under_way_does_not_break_the_end_of_the_process():
    """A thread that is inside TensorFlow when the interpreter ends would abort the process."""
    script = (
        "import sys, tensorflow as tf\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from imcap.prefetch import in_order\n"
        "threads = ThreadPoolExecutor(2)\n"
        "work = tf.function(lambda: tf.linalg.inv(tf.random.uniform([700, 700])))\n"
        "results = in_order((threads.submit(work) for _ in range(50)), 20)\n"
        "next(results)\n"
        "sys.exit(2)\n"
    )
    command = [sys.executable, "-c", script]
    ended = subprocess.run(command, cwd=processes.ROOT, capture_output=True, timeout=120)
    assert ended.returncode == 2, ended.stderr


# The main thread ends while a daemon thread, as those of Beam's workers are, is amid its results.
ENDING = """
import atexit, threading, time
from concurrent.futures import ThreadPoolExecutor
from imcap.prefetch import in_order
# The consumer gets the time to see how its results end.
atexit.register(lambda: consumer.join(20))

def consume():
    try:
        for _ in in_order((threads.submit(time.sleep, {work_seconds}) for _ in range({count})), 4):
            begun.set()
            time.sleep({consumer_seconds})
        print("complete", flush=True)
    except RuntimeError as error:
        print(error, flush=True)

threads = ThreadPoolExecutor(2)
begun = threading.Event()
consumer = threading.Thread(target=consume, daemon=True)
consumer.start()
begun.wait()
"""


@pytest.mark.parametrize(
    ("work_seconds", "consumer_seconds"),
    [(0.05, 0.0), (0.0, 0.05)],
    ids=["the consumer waits", "the results wait"],
)
def test_results_cut_off_by_the_end_of_the_process_do_not_look_complete(
    work_seconds, consumer_seconds
):
    """A shard of what came until then would count as finished."""
    script = ENDING.format(count=50, work_seconds=work_seconds, consumer_seconds=consumer_seconds)
    command = [sys.executable, "-c", script]
    ended = subprocess.run(
        command, cwd=processes.ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.stdout.startswith("cannot schedule new futures after"), ended.stderr
