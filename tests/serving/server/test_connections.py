"""Connections that stay open for nothing: too many of them, slow senders, and slow readers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import resource
import time

import pytest
import uvicorn

from imcap.serving.server import connections, sockets

GET = b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n"


async def answer(scope, receive, send) -> None:
    """Answers with as many bytes as the path says, in two parts."""
    size = int(scope["path"][1:])
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for more_body in (True, False):
        body = bytes(size // 2)
        await send({"type": "http.response.body", "body": body, "more_body": more_body})


@contextlib.asynccontextmanager
async def serving(**attributes):
    """Runs a server whose connections have some attributes; gives a function that connects."""
    kind = type("Connection", (connections.LimitedConnection,), attributes)
    config = uvicorn.Config(answer, http=kind, ws="none", lifespan="off", log_level="error")
    server = uvicorn.Server(config)
    with sockets.listen("127.0.0.1", 0) as listener:
        address = listener.getsockname()
        task = asyncio.create_task(server._serve([listener]))
        with contextlib.ExitStack() as stack:

            async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
                # A small buffer, so that a client that does not read is noticed at once.
                reader, writer = await asyncio.open_connection(*address, limit=1 << 10)
                stack.callback(writer.close)
                return reader, writer

            yield connect
        server.should_exit = True
        await task


async def get(reader, writer, size: int = 2) -> bytes:
    writer.write(GET % size)
    return await reader.readline()


def run(main) -> None:
    asyncio.run(asyncio.wait_for(main, 30))


def test_idle_connections_above_the_limit_make_room_for_active_ones(monkeypatch, caplog):
    monkeypatch.setattr(connections, "_MIN_IDLE_SECONDS", 0.0)

    async def main() -> None:
        async with serving(max_connections=20) as connect:
            idle = [await connect() for _ in range(150)]
            for _ in range(3):
                assert await get(*await connect()) == b"HTTP/1.1 200 OK\r\n"
            with contextlib.suppress(ConnectionResetError):
                assert await idle[0][0].read() == b""

    run(main())
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_above_the_limit_of_active_connections_requests_are_refused(monkeypatch):
    monkeypatch.setattr(connections, "_MIN_IDLE_SECONDS", 100.0)

    async def main() -> None:
        async with serving(max_connections=1) as connect:
            await connect()
            reader, writer = await connect()
            assert await get(reader, writer) == b"HTTP/1.1 503 Service Unavailable\r\n"
            rest = await reader.read()
            assert b"retry-after: 1\r\n" in rest
            assert json.loads(rest.split(b"\r\n\r\n")[1].split(b"\r\n")[1]) == {
                "error": "Too many connections"
            }

    run(main())


@pytest.mark.parametrize("sent", [b"", b"GET /2 HTTP/1.1\r\nHost:"])
def test_a_connection_without_a_whole_head_is_closed(sent):
    async def main() -> None:
        async with serving(head_seconds=0.2) as connect:
            reader, writer = await connect()
            began = time.monotonic()
            writer.write(sent)
            reply = await reader.read()
            assert time.monotonic() - began >= 0.15
            assert reply.startswith(b"HTTP/1.1 408 Request Timeout\r\n" if sent else b"")
            assert bool(reply) == bool(sent)

    run(main())


def test_bytes_now_and_then_do_not_prolong_the_time_for_a_head():
    async def main() -> None:
        async with serving(head_seconds=0.3) as connect:
            reader, writer = await connect()
            assert await get(reader, writer) == b"HTTP/1.1 200 OK\r\n"
            began = time.monotonic()
            while not reader.at_eof():
                with contextlib.suppress(ConnectionError):
                    writer.write(b"G")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(reader.read(4096), 0.05)
            assert 0.2 <= time.monotonic() - began < 10

    run(main())


def test_a_client_that_does_not_read_its_reply_is_disconnected():
    async def main() -> None:
        async with serving(write_seconds=0.2) as connect:
            reader, writer = await connect()
            await get(reader, writer, 40_000_000)
            await asyncio.sleep(0.6)
            with contextlib.suppress(ConnectionResetError):
                assert len(await reader.read()) < 40_000_000

    run(main())


@pytest.fixture
def file_limit():
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield limits
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_the_limit_on_open_files_is_raised_for_the_connections(file_limit):
    resource.setrlimit(resource.RLIMIT_NOFILE, (300, file_limit[1]))
    assert connections.prepare_process(100) == 100
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 300
    assert connections.prepare_process(20) == 20


def test_no_more_connections_are_allowed_than_files(monkeypatch, logged):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 1024))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: None)
    assert 500 < connections.prepare_process(5000) < 1000
    assert "ulimit -n" in logged()[0]
