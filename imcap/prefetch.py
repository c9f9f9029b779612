"""Results of futures in order, with a bounded number of them running."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterator
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def in_order(submissions: Iterator[Future[T]], window: int) -> Iterator[T]:
    """Returns the results of futures in their order; raises what one raised when its turn comes.

    Args:
      submissions: gives futures; taking the next one submits its task.
      window: futures that are submitted at once, by the call; from then on, one more for each
        result that is taken.
    """
    return _results(collections.deque(itertools.islice(submissions, window)), submissions)


def _results(
    waiting: collections.deque[Future[T]], submissions: Iterator[Future[T]]
) -> Iterator[T]:
    try:
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(itertools.islice(submissions, 1))
            yield result
    finally:
        for future in waiting:  # The consumer stopped early.
            future.cancel()
