"""Reading the bodies of requests: limited in size, in time, and in what all of them hold."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from starlette.requests import Request

from imcap.serving import rest

_MIB = 1 << 20
# A body that is too large is read on and discarded up to this multiple of the limit. A client
# that is still sending when the server closes the connection sees a broken pipe, not the 413.
_DISCARD_LIMITS = 4
_HELD_LIMITS = 16  # All bodies together hold this multiple of the largest.
# As Apache's RequestReadTimeout: some seconds, and one more for each of these bytes.
_SECONDS = 20.0
_BYTES_PER_SECOND = 1000


class Bodies:
    """Reads bodies; the sum of those that are being read or in use is limited.

    Attributes:
      held: that sum, in bytes.
    """

    def __init__(self, limit: int, *, seconds: float = _SECONDS) -> None:
        """Sets the limits.

        Args:
          limit: the largest body, in bytes.
          seconds: how long a body may take, beside a second for every 1000 bytes of it.
        """
        self.held = 0
        self._limit, self._seconds = limit, seconds

    @contextlib.asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytearray]:
        """Gives a request's body, which is held until the end of the block.

        Raises:
          RequestError: 413 too large, 408 too slow, 503 too much is held.
          ClientDisconnect: the client has left.
        """
        body = bytearray()
        try:
            await self._read(request, body)
            yield body
        finally:
            self.held -= len(body)

    async def _read(self, request: Request, body: bytearray) -> None:
        size = self._announced_size(request)
        began = asyncio.get_running_loop().time()
        if size <= self._limit:
            size = 0
            stream = request.stream()
            while (chunk := await self._next_chunk(stream, began, size)) is not None:
                size += len(chunk)
                if size <= self._limit:
                    body += chunk
                    self.held += len(chunk)
                elif size > _DISCARD_LIMITS * self._limit:
                    break
                if self.held > _HELD_LIMITS * self._limit:
                    message = "Too many large requests at once"
                    raise rest.RequestError(503, message, retry_after=1, closes=True)
        if size > self._limit:
            message = f"larger than the limit of {self._limit // _MIB} MiB (--max_body_mib)"
            raise rest.RequestError(413, f"The request body is {message}")

    async def _next_chunk(
        self, stream: AsyncIterator[bytes], began: float, size: int
    ) -> bytes | None:
        try:
            async with asyncio.timeout_at(began + self._seconds + size / _BYTES_PER_SECOND):
                return await anext(stream, None)
        except TimeoutError as error:
            message = f"The request body has arrived too slowly: {size} bytes so far"
            raise rest.RequestError(408, message, closes=True) from error

    def _announced_size(self, request: Request) -> int:
        """Returns the size of a body that the client sends only after `100 Continue`, else 0.

        Such a body can be refused by its Content-Length, before it is sent.
        """
        length = request.headers.get("content-length", "")
        expects = request.headers.get("expect", "").lower() == "100-continue"
        return int(length) if expects and length.isdecimal() and len(length) < 20 else 0
