"""Work that threads do ahead of whoever takes its results."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterator
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def ahead(begun: Iterator[Future[T]], window: int) -> Iterator[T]:
    """Returns the results of work in its order; what a piece raises is raised in its place.

    Args:
      begun: each step of it begins a piece of work.
      window: pieces that are begun before the first is asked for; from then on, one more is begun
        for each one taken.
    """
    return _results(collections.deque(itertools.islice(begun, window)), begun)


def _results(waiting: collections.deque[Future[T]], begun: Iterator[Future[T]]) -> Iterator[T]:
    try:
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(itertools.islice(begun, 1))
            yield result
    finally:
        for future in waiting:  # Of a consumer that gave up.
            future.cancel()
