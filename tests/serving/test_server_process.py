"""The server as a process: sockets, clients that misbehave, and the shutdown."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent import futures
from pathlib import Path

import pytest
from grey_model import Grey, export, png

from imcap.errors import UserError
from imcap.serving import server

PREDICT = "/v1/models/grey:predict"
HELD_HEIGHT = 9
SERVE = """
import functools, json, sys
from imcap.serving import server
announce = functools.partial(print, flush=True)
limits = server.Limits(max_body_mib=8)
server.serve({"grey": sys.argv[1]}, port=0, limits=limits, announce=announce)
"""


def body(level: int, height: int = 4) -> bytes:
    image = {"b64": base64.b64encode(png(level, height)).decode()}
    return json.dumps({"instances": [{"image_bytes": image}]}).encode()


@pytest.fixture
def barrier(tmp_path):
    """The file that images of HELD_HEIGHT wait for."""
    return tmp_path / "barrier"


@pytest.fixture
def started(tmp_path, barrier):
    """A process that runs `serve`, with its host and port."""
    version = export(tmp_path / "7", Grey(str(barrier), HELD_HEIGHT))
    env = os.environ | {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", SERVE, str(tmp_path)]
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(open(tmp_path / "stderr", "wb"))
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=env)
        stack.callback(process.wait)
        stack.callback(process.kill)
        line = process.stdout.readline().decode()
        assert line.startswith(f"serving {version} at http://127.0.0.1:"), line
        yield process, "127.0.0.1", int(line.split(":")[2].split("/")[0])


def get(host: str, port: int, path: str, data: bytes | None = None) -> tuple[int, dict]:
    try:
        with urllib.request.urlopen(f"http://{host}:{port}{path}", data, timeout=20) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def captions(reply: tuple[int, dict]) -> list[str]:
    status, content = reply
    assert status == 200, content
    return [prediction["caption"] for prediction in content["predictions"]]


def wait_for(condition) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def send_and_leave(host: str, port: int, data: bytes) -> None:
    with socket.create_connection((host, port)) as client:
        client.sendall(data + b"Content-Length: 99\r\n\r\n{")


def status_if_asked_before_sending(host: str, port: int, size: int) -> int:
    """The status that a client with `Expect: 100-continue` gets without sending its body."""
    with contextlib.closing(http.client.HTTPConnection(host, port)) as client:
        client.putrequest("POST", PREDICT)
        client.putheader("Content-Length", str(size))
        client.putheader("Expect", "100-continue")
        client.endheaders()
        return client.getresponse().status


def test_probes_are_answered_during_requests_which_finish_before_the_shutdown(started, barrier):
    process, host, port = started
    wait_for(lambda: get(host, port, "/readyz") == (200, {"status": "ready"}))

    # Clients that break the protocol, leave, or send too much do not affect others.
    send_and_leave(host, port, b"garbage\r\n\r\n")
    send_and_leave(host, port, f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\n".encode())
    assert get(host, port, PREDICT, b" " * (30 << 20))[0] == 413
    assert get(host, port, "/v1/models/no:predict", b" " * (7 << 20))[0] == 404
    assert status_if_asked_before_sending(host, port, 1 << 40) == 413

    with futures.ThreadPoolExecutor(8) as pool:
        replies = pool.map(lambda _: captions(get(host, port, PREDICT, body(10))), range(16))
        assert list(replies) == [["grey 10"]] * 16

    held = [http.client.HTTPConnection(host, port, timeout=20) for _ in range(8)]
    for level, client in enumerate(held, start=20):
        client.request("POST", PREDICT, body(level, HELD_HEIGHT))
    wait_for(lambda: any(Path(f"{barrier}.{level}").exists() for level in range(20, 28)))
    assert get(host, port, "/healthz") == (200, {"status": "ok"})
    process.send_signal(signal.SIGTERM)
    barrier.touch()
    for level, client in enumerate(held, start=20):
        with client.getresponse() as response:
            assert captions((response.status, json.load(response))) == [f"grey {level}"]
    assert process.wait(20) == 0


def test_a_port_in_use_is_refused_before_a_model_is_loaded():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"--port={port}: Address already in use"):
            server.serve({"grey": os.devnull}, port=port)


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_out_of_range_is_refused(port):
    with pytest.raises(UserError, match=f"--port={port}"):
        server.serve({"grey": os.devnull}, port=port)


def test_a_missing_model_is_refused(tmp_path):
    with pytest.raises(UserError, match=f"{tmp_path / 'nowhere'}: no such folder"):
        server.serve({"grey": str(tmp_path / "nowhere")}, port=0)
