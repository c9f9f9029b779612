"""Bodies of requests: their size, how fast they arrive, and what all of them hold."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from starlette.requests import Request

from imcap.serving import rest
from imcap.serving.server.bodies import Bodies


def request(*chunks: bytes, pause: float = 0.0, headers: tuple = ()) -> Request:
    """A request whose body arrives in chunks, with a pause before each."""

    async def receive_all() -> AsyncIterator[dict]:
        for index, chunk in enumerate(chunks):
            await asyncio.sleep(pause)
            more_body = index < len(chunks) - 1
            yield {"type": "http.request", "body": chunk, "more_body": more_body}

    messages = receive_all()
    return Request({"type": "http", "headers": list(headers)}, lambda: anext(messages))


def read(bodies: Bodies, given: Request) -> bytes:
    async def main() -> bytes:
        async with bodies.read(given) as body:
            assert bodies.held == len(body)
            return bytes(body)

    found = asyncio.run(main())
    assert bodies.held == 0
    return found


def refuse(bodies: Bodies, given: Request) -> rest.RequestError:
    with pytest.raises(rest.RequestError) as caught:
        read(bodies, given)
    assert bodies.held == 0
    return caught.value


def test_a_body_of_the_limit_is_read():
    assert read(Bodies(6), request(b"ab", b"cd", b"ef")) == b"abcdef"


@pytest.mark.parametrize("chunks", [[b"abcdefg"], [b"abcd", b"efg"], [b"abcd"] * 100])
def test_a_larger_body_is_refused(chunks):
    assert refuse(Bodies(6), request(*chunks)).status == 413


def test_a_client_that_asks_before_it_sends_is_refused_at_once():
    headers = ((b"content-length", b"7"), (b"expect", b"100-Continue"))
    assert refuse(Bodies(6), request(headers=headers)).status == 413


def test_a_body_that_arrives_too_slowly_is_refused():
    error = refuse(Bodies(1 << 20, seconds=0.1), request(*[b"a"] * 100, pause=0.02))
    assert (error.status, error.headers) == (408, {"Connection": "close"})
    assert "too slowly" in error.message


def test_a_large_body_has_more_time():
    chunks = [bytes(1000)] * 5  # Each gives a second more.
    assert len(read(Bodies(1 << 20, seconds=0.5), request(*chunks, pause=0.2))) == 5000


def test_all_bodies_together_are_limited():
    async def main() -> None:
        bodies = Bodies(10)
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(16):
                await stack.enter_async_context(bodies.read(request(bytes(10))))
            with pytest.raises(rest.RequestError) as caught:
                await stack.enter_async_context(bodies.read(request(b"a")))
            assert (caught.value.status, caught.value.headers["Retry-After"]) == (503, "1")
        assert bodies.held == 0

    asyncio.run(main())
