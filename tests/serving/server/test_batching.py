"""Batches across requests: their sizes, the turns that requests take, and failures."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Sequence

import pytest

from imcap.serving.server import batching


class Recorder:
    """A function that answers with the upper case, waits while it is held, and keeps its batches.

    An instance `bad` makes its batch fail.
    """

    def __init__(self) -> None:
        self.batches: list[list[bytes]] = []
        self.running, self.most_running = 0, 0
        self.free = threading.Event()
        self.free.set()

    def __call__(self, inputs: dict[str, Sequence[bytes]]) -> list[bytes]:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        self.batches.append(list(inputs["x"]))
        assert self.free.wait(20)
        self.running -= 1
        if b"bad" in inputs["x"]:
            raise ValueError("bad")
        return [value.upper() for value in inputs["x"]]


@contextlib.asynccontextmanager
async def running(recorder, *, size=4, timeout_s=0.0, max_waiting=100, observe=lambda batch: None):
    """A batcher, and a function that submits instances of one function to it."""
    batcher = batching.Batcher(
        max_batch_size=size, timeout_s=timeout_s, max_waiting=max_waiting, observe=observe
    )
    task = asyncio.create_task(batcher.run())

    def submit(*values: bytes, key: str = "f") -> asyncio.Task:
        return asyncio.create_task(batcher.submit(key, recorder, {"x": list(values)}))

    try:
        yield submit
    finally:
        task.cancel()
        recorder.free.set()
        batcher.close()


async def hold(recorder, submit) -> asyncio.Task:
    """Submits a request that stays in the model until the recorder is free."""
    recorder.free.clear()
    task = submit(b"held", key="held")
    while not recorder.batches:
        await asyncio.sleep(0.001)
    return task


async def settle() -> None:
    """Lets tasks that were created run up to where they wait."""
    for _ in range(3):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("largest", "sizes"), [(1, [1]), (2, [1, 2]), (24, [1, 2, 4, 8, 16, 24]), (8, [1, 2, 4, 8])]
)
def test_sizes_are_powers_of_two_and_the_largest(largest, sizes):
    assert batching.batch_sizes(largest) == sizes


def test_requests_share_batches_and_get_their_own_answers():
    async def main(recorder):
        async with running(recorder) as submit:
            held = await hold(recorder, submit)
            waiting = [submit(b"a"), submit(b"b", b"c"), submit(b"d")]
            await settle()
            recorder.free.set()
            assert await asyncio.gather(held, *waiting) == [[b"HELD"], [b"A"], [b"B", b"C"], [b"D"]]

    asyncio.run(main(recorder := Recorder()))
    assert recorder.batches == [[b"held"], [b"a", b"b", b"d", b"c"]]
    assert recorder.most_running == 1


def test_a_large_request_does_not_hold_up_others():
    async def main(recorder):
        async with running(recorder) as submit:
            held = await hold(recorder, submit)
            large = submit(*[b"l"] * 1000)
            await settle()
            small = [submit(b"s"), submit(b"s", b"s"), submit(b"o", key="other")]
            await settle()
            recorder.free.set()
            await asyncio.gather(held, *small)
            assert not large.done()
            large.cancel()

    asyncio.run(main(recorder := Recorder()))
    first = recorder.batches[1:4]
    assert first == [[b"l", b"s", b"s", b"l"], [b"o"], [b"s", b"l", b"l", b"l"]]
    assert len(recorder.batches) < 20  # A cancelled request leaves the queue.


def test_an_idle_model_waits_for_more_of_a_batch_but_not_after_it_is_full():
    async def main(recorder):
        async with running(recorder, timeout_s=20.0) as submit:
            first = submit(b"a")
            await asyncio.sleep(0.05)
            assert recorder.batches == []
            await asyncio.gather(first, *[submit(b"b") for _ in range(3)])

    asyncio.run(asyncio.wait_for(main(recorder := Recorder()), 10))
    assert [len(batch) for batch in recorder.batches] == [4]


def test_a_part_of_a_batch_is_run_after_the_timeout():
    async def main(recorder):
        seen = []
        async with running(recorder, timeout_s=0.05, observe=seen.append) as submit:
            assert await submit(b"a") == [b"A"]
        assert [batch.size for batch in seen] == [1]
        assert seen[0].waited >= 0.05

    asyncio.run(main(Recorder()))


def test_too_many_requests_are_refused():
    async def main(recorder):
        async with running(recorder, max_waiting=3) as submit:
            held = await hold(recorder, submit)
            waiting = [submit(b"a"), submit(b"b")]
            await settle()
            with pytest.raises(batching.QueueFullError) as caught:
                await submit(b"c")
            assert caught.value.retry_after >= 1
            recorder.free.set()
            await asyncio.gather(held, *waiting)
            assert await submit(b"c") == [b"C"]

    asyncio.run(main(Recorder()))


def test_an_instance_that_makes_its_batch_fail_fails_alone():
    async def main(recorder):
        async with running(recorder) as submit:
            held = await hold(recorder, submit)
            waiting = [submit(b"a"), submit(b"bad"), submit(b"c"), submit(b"d")]
            await settle()
            recorder.free.set()
            await held
            good, (error,), *others = await asyncio.gather(*waiting)
            assert [good, *others] == [[b"A"], [b"C"], [b"D"]]
            assert isinstance(error, ValueError)

    asyncio.run(main(Recorder()))
