"""Work that runs ahead of its consumer, in a thread."""

from __future__ import annotations

import atexit
import contextlib
import queue
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
_END = object()


def ahead(items: Iterable[T], buffer: int) -> Iterator[T]:
    """Computes up to `buffer` items before they are asked for, beginning at once.

    Args:
      items: iterated in a thread of its own; what it raises is raised to the consumer.
      buffer: items held at most.

    Returns:
      An iterator over the items in their order. Closing it stops the thread. It raises
      RuntimeError where the process ends before the items do.
    """
    return _drain(_Producer(items, buffer))


class _Producer(threading.Thread):
    def __init__(self, items: Iterable[T], buffer: int) -> None:
        super().__init__(daemon=True)
        self._items = items
        self.closed = threading.Event()
        self.buffered: queue.Queue = queue.Queue(buffer)
        # A thread that is inside TensorFlow when the interpreter ends aborts the process.
        atexit.register(self.stop)
        self.start()

    def run(self) -> None:
        error: BaseException | None = None
        try:
            for item in self._items:
                self.buffered.put((item, None))
                if self.closed.is_set():
                    return
        except BaseException as raised:  # Whatever it is, it belongs to the consumer.
            error = raised
        self.buffered.put((_END, error))

    def stop(self) -> None:
        """Ends the thread after the item that it is at, and waits for that."""
        self.closed.set()
        self._empty()
        while self.is_alive():  # It may be waiting for room.
            self.join(0.1)
            self._empty()
        self.buffered.put((_END, None))  # For a consumer that waits.
        atexit.unregister(self.stop)

    def _empty(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self.buffered.get_nowait()


def _drain(producer: _Producer) -> Iterator[T]:
    try:
        while True:
            item, error = producer.buffered.get()
            if producer.closed.is_set():  # By the process's end: what is left is not the rest.
                raise RuntimeError("the process ends")
            if error is not None:
                raise error
            if item is _END:
                return
            yield item
    finally:
        producer.stop()
