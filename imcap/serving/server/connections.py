"""A limit on connections, and time limits for clients that are slow to send or to read."""

from __future__ import annotations

import asyncio
import json
import resource
from typing import Any

from absl import logging
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 10.0  # For a request's head, after its first byte or that of the connection.
WRITE_SECONDS = 30.0  # For a client that does not read its reply.
# Connections above the limit that are read until they can be refused in words.
_REFUSED_AT_ONCE = 64
# asyncio accepts so many in one pass of its loop, and handles the first a few passes later.
ACCEPTED_AT_ONCE = 16
_PASSES = 8
_MIN_IDLE_SECONDS = 1.0  # The request of a newer connection may be on its way.
_OTHER_FILES = 128  # Listeners, logs, and a model that is being loaded.
_REPLY = b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close"


def prepare_process(max_connections: int) -> int:
    """Raises the process's limit on open files as far as needed and allowed.

    Returns:
      The most connections that fit below it, at most `max_connections`.
    """
    spare = _REFUSED_AT_ONCE + _PASSES * ACCEPTED_AT_ONCE + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= max_connections + spare:
        return max_connections
    wanted = max_connections + spare
    soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == wanted:
        return max_connections
    fitting = max(1, soft - spare)
    logging.warning(
        "at most %d connections, as this process may open only %d files (ulimit -n)", fitting, soft
    )
    return fitting


class LimitedConnection(H11Protocol):
    """A connection that is closed when its client keeps it open for nothing.

    uvicorn itself waits for ever for the rest of a request's head, and for a client to read. Above
    the limit, the connection that has been idle for longest is closed; if none is, the newest
    client gets a 503. Subclasses set the attributes.

    Attributes:
      max_connections: the most that are served.
      head_seconds, write_seconds: see the constants.
    """

    max_connections = 1000
    head_seconds = HEAD_SECONDS
    write_seconds = WRITE_SECONDS
    _has_begun = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.idle_since = self.loop.time()
        self._start_head_timer()
        self._write_timer = _cancelled(self.loop)
        excess = len(self.connections) - self.max_connections
        if excess > 0 and not self._close_an_idle_one(_MIN_IDLE_SECONDS):
            self.app = _refuse
            if excess > _REFUSED_AT_ONCE and not self._close_an_idle_one(0.0):
                transport.abort()

    def data_received(self, data: bytes) -> None:
        self._has_begun = True
        super().data_received(data)
        self._follow_head()

    def on_response_complete(self) -> None:
        self.idle_since, self._has_begun = self.loop.time(), False
        super().on_response_complete()
        self._follow_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_timer.cancel()
        self._write_timer.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_timer = self.loop.call_later(self.write_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._write_timer.cancel()

    @property
    def is_idle(self) -> bool:
        """Whether no request is being received or answered."""
        return self.cycle is None or self.cycle.response_complete

    def _close_an_idle_one(self, seconds: float) -> bool:
        """Closes the connection that has been idle for longest, if for more than some seconds."""
        latest = self.loop.time() - seconds
        others = [c for c in self.connections if isinstance(c, LimitedConnection)]
        idle = [c for c in others if c.is_idle and c.idle_since < latest]
        idle = [c for c in idle if not c.transport.is_closing()]
        if idle:
            min(idle, key=lambda connection: connection.idle_since).transport.abort()
        return bool(idle)

    def _follow_head(self) -> None:
        """Starts the head's time limit with its first byte, and ends it after the last."""
        if not self.is_idle:
            self._head_timer.cancel()
        elif self._has_begun and self._head_timer.cancelled():
            self._start_head_timer()

    def _start_head_timer(self) -> None:
        self._head_timer = self.loop.call_later(self.head_seconds, self._end_slow_head)

    def _end_slow_head(self) -> None:
        if self.is_idle and not self.transport.is_closing():
            if self._has_begun:
                message = "The request's head has arrived too slowly"
                self.transport.write(_reply(b"408 Request Timeout", message))
            self.transport.close()


def _cancelled(loop: asyncio.AbstractEventLoop) -> asyncio.TimerHandle:
    timer = loop.call_later(0, int)
    timer.cancel()
    return timer


def _reply(status: bytes, message: str) -> bytes:
    body = json.dumps({"error": message}).encode()
    return _REPLY % (status, len(body)) + b"\r\n\r\n" + body


async def _refuse(scope: Any, receive: Any, send: Any) -> None:
    """Answers a request of a connection above the limit."""
    headers = [
        (b"content-type", b"application/json"),
        (b"retry-after", b"1"),
        (b"connection", b"close"),
    ]
    body = json.dumps({"error": "Too many connections"}).encode()
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": body})
