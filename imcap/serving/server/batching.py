"""Batches across requests: one at a time in the models, and all requests take turns."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import functools
import math
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent import futures
from typing import Any, TypeVar

_Inputs = Mapping[str, Sequence[bytes]]
_T = TypeVar("_T")
_NEWEST_SHARE = 0.2  # Of the newest batch in the moving average of the time per instance.
_MAX_RETRY_SECONDS = 60


class QueueFullError(Exception):
    """Too many requests wait.

    Attributes:
      retry_after: in how many seconds there should be room.
    """

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"try again in {retry_after} s")
        self.retry_after = retry_after


@dataclasses.dataclass(frozen=True)
class Batch:
    """What is known of a batch after it has run.

    Attributes:
      size: instances.
      waited: seconds that its first instance had waited before.
      seconds: that the model took.
    """

    size: int
    waited: float
    seconds: float


@dataclasses.dataclass(eq=False)
class _Request:
    """A request in a lane; `rows` holds its answers so far."""

    inputs: _Inputs
    arrived: float
    done: asyncio.Future[None]
    rows: list[Any]
    taken: int = 0
    answered: int = 0

    def take(self) -> int:
        """Returns the index of the next instance, which is then in a batch."""
        self.taken += 1
        return self.taken - 1

    def answer(self, index: int, row: Any) -> None:
        self.rows[index] = row
        self.answered += 1
        if self.answered == len(self.rows) and not self.done.done():
            self.done.set_result(None)


@dataclasses.dataclass
class _Lane:
    """The requests of one function, each of which has instances that are in no batch yet."""

    predict: Callable[[_Inputs], Sequence[Any]]
    requests: collections.deque[_Request] = dataclasses.field(default_factory=collections.deque)

    @property
    def waiting(self) -> int:
        return sum(len(request.rows) - request.taken for request in self.requests)


class Batcher:
    """Gathers instances of requests into batches, and runs one batch at a time on a thread.

    Two batches at once would fight for the same cores. A batch takes one instance of each waiting
    request in turn, so that a request of a thousand instances delays others by a share of a batch.
    Batches of one function and of others take turns, too. Sizes are powers of two and the largest:
    oneDNN and cuDNN compile their kernels for each size.
    """

    def __init__(
        self,
        *,
        max_batch_size: int,
        timeout_s: float,
        max_waiting: int,
        observe: Callable[[Batch], None] = lambda batch: None,
    ) -> None:
        """Starts the thread; `run` forms the batches.

        Args:
          max_batch_size: the most instances of a batch.
          timeout_s: how long an instance waits for others while the thread is idle, in seconds.
          max_waiting: the most requests that are in `submit`.
          observe: called with each batch after it has run.
        """
        self.sizes = batch_sizes(max_batch_size)
        self._timeout, self._max_waiting, self._observe = timeout_s, max_waiting, observe
        self._thread = futures.ThreadPoolExecutor(1, thread_name_prefix="model")
        self._lanes: collections.OrderedDict[Hashable, _Lane] = collections.OrderedDict()
        self._arrived = asyncio.Event()
        self._open = 0
        self._seconds_per_instance = 0.0

    @property
    def waiting(self) -> int:
        """How many requests are in `submit`."""
        return self._open

    async def submit(
        self, key: Hashable, predict: Callable[[_Inputs], Sequence[Any]], inputs: _Inputs
    ) -> list[Any]:
        """Runs a function on a request's instances, in batches with those of other requests.

        If it is cancelled, instances that are in no batch yet are dropped.

        Args:
          key: of the function; requests with the same key share batches.
          predict: from inputs by name to one answer for each instance; it is called on a thread. A
            batch that makes it fail is run again, each instance alone.
          inputs: values by input name; all of the same length, at least 1.

        Returns:
          For each instance, what `predict` returned or raised.

        Raises:
          QueueFullError: too many requests wait.
        """
        if self._open >= self._max_waiting:
            raise QueueFullError(self._retry_after())
        size = len(next(iter(inputs.values())))
        done = asyncio.get_running_loop().create_future()
        request = _Request(inputs, time.monotonic(), done, [None] * size)
        lane = self._lanes.setdefault(key, _Lane(predict))
        lane.requests.append(request)
        self._arrived.set()
        self._open += 1
        try:
            await done
        finally:
            self._open -= 1
            if request in lane.requests:
                lane.requests.remove(request)
        return request.rows

    async def call(self, function: Callable[[], _T]) -> _T:
        """Runs a function on the models' thread, between two batches."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)

    async def run(self) -> None:
        """Forms batches and runs them, until it is cancelled."""
        while True:
            while not self._lanes:
                self._arrived.clear()
                await self._arrived.wait()
            await self._run_next()

    def close(self) -> None:
        """Lets the thread end after its batch."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _run_next(self) -> None:
        key, lane = next(iter(self._lanes.items()))
        self._lanes.move_to_end(key)
        await self._fill(lane)
        size = max((s for s in self.sizes if s <= lane.waiting), default=0)
        batch = _take(lane, size)
        if not lane.requests:
            del self._lanes[key]
        if batch:
            await self._run_batch(lane.predict, batch)

    async def _fill(self, lane: _Lane) -> None:
        """Waits until a lane has a full batch, or its oldest request has waited long enough."""
        deadline = min((r.arrived for r in lane.requests), default=0.0) + self._timeout
        while 0 < lane.waiting < self.sizes[-1] and (left := deadline - time.monotonic()) > 0:
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), left)
            except TimeoutError:
                return

    async def _run_batch(
        self, predict: Callable[[_Inputs], Sequence[Any]], batch: Sequence[tuple[_Request, int]]
    ) -> None:
        inputs = {
            name: [request.inputs[name][index] for request, index in batch]
            for name in batch[0][0].inputs
        }
        began = time.monotonic()
        rows = await self.call(functools.partial(_predict_apart, predict, inputs))
        seconds = time.monotonic() - began
        for (request, index), row in zip(batch, rows, strict=True):
            request.answer(index, row)
        newest = seconds / len(batch)
        share = _NEWEST_SHARE if self._seconds_per_instance else 1.0
        self._seconds_per_instance += share * (newest - self._seconds_per_instance)
        waited = began - min(request.arrived for request, _ in batch)
        self._observe(Batch(len(batch), waited, seconds))

    def _retry_after(self) -> int:
        waiting = sum(lane.waiting for lane in self._lanes.values())
        return max(1, min(_MAX_RETRY_SECONDS, math.ceil(waiting * self._seconds_per_instance)))


def batch_sizes(largest: int) -> list[int]:
    """Returns the sizes that batches have: the powers of two below `largest`, and `largest`."""
    return [1 << bit for bit in range((largest - 1).bit_length())] + [largest]


def _take(lane: _Lane, size: int) -> list[tuple[_Request, int]]:
    """Takes `size` instances out of a lane, one of each request in turn."""
    batch = []
    for _ in range(size):
        request = lane.requests.popleft()
        batch.append((request, request.take()))
        if request.taken < len(request.rows):
            lane.requests.append(request)
    return batch


def _predict_apart(
    predict: Callable[[_Inputs], Sequence[Any]], inputs: _Inputs
) -> list[Any | Exception]:
    """Calls `predict`; if it fails, calls it for each instance alone."""
    size = len(next(iter(inputs.values())))
    try:
        return list(predict(inputs))
    except Exception as error:
        if size == 1:
            return [error]
    alone = [{name: [values[i]] for name, values in inputs.items()} for i in range(size)]
    return [_predict_apart(predict, row)[0] for row in alone]
