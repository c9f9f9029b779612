"""The REST server: an ASGI application with limits and probes, and the process that runs it.

Beyond TensorFlow Serving's API (`rest`) it has `/healthz`, `/readyz`, a limit on the size of a
request (413), status 405 for a wrong method (TensorFlow Serving says 400), and error messages that
give the index of an image that cannot be decoded.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent import futures
from typing import Any

import uvicorn
from absl import logging
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from imcap.errors import UserError
from imcap.serving import rest
from imcap.serving.captioner import Captioner, Failure
from imcap.serving.saved_model import SIGNATURES

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_MIB = 1 << 20
# A body that is too large is read on and discarded up to this multiple of the limit. A client
# that is still sending when the server closes the connection sees a broken pipe, not the 413.
_DISCARD_LIMITS = 4
_SHUTDOWN_SECONDS = 30  # How long running requests may take to finish after SIGTERM.
_CLIENT_CLOSED_REQUEST = 499  # nginx's status for the log; the client does not see it.


class _Json(JSONResponse):
    """JSON in ASCII, which can encode lone surrogates; NaN and Infinity as TF Serving does."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, separators=(",", ":")).encode("ascii")


def create_app(
    models: Mapping[str, Captioner], *, max_body_mib: int = 64, threads: int = 4
) -> Starlette:
    """Returns the ASGI application that serves loaded models; it starts to warm them up at once.

    Args:
      models: by the name in the URL.
      max_body_mib: the largest request body, in MiB.
      threads: how many requests are processed at a time; the others wait.

    Raises:
      UserError: no model, a name that no URL can contain, or a limit below 1.
    """
    _check_options(models, max_body_mib, threads)
    service = _Service(models, max_body_mib, threads)
    routes = [
        Route("/healthz", _healthz),
        Route("/readyz", service.readyz),
        Route("/{path:path}", service.handle, methods=_METHODS),
    ]
    handlers: dict[Any, Any] = {
        rest.RequestError: _request_error,
        HTTPException: _http_error,
        Exception: _internal_error,
    }
    return Starlette(routes=routes, exception_handlers=handlers, lifespan=service.lifespan)


def _check_options(models: Mapping[str, Any], max_body_mib: int, threads: int) -> None:
    if not models:
        raise UserError("no model to serve: give at least one --model=NAME=DIR")
    for name in models:
        if not rest.is_model_name(name):
            raise UserError(f"--model={name}=…: a model's name is part of a URL: no '/', no ':'")
    for flag, value in {"max_body_mib": max_body_mib, "threads": threads}.items():
        if value < 1:
            raise UserError(f"--{flag}={value}: must be at least 1")


def _healthz(request: Request) -> Response:
    return _Json({"status": "ok"})


def _request_error(request: Request, error: rest.RequestError) -> Response:
    headers = {"Allow": error.allow} if error.allow else None
    return _Json({"error": error.message}, error.status, headers)


def _http_error(request: Request, error: HTTPException) -> Response:
    return _Json({"error": error.detail}, error.status_code, error.headers)


def _internal_error(request: Request, error: Exception) -> Response:
    return _Json({"error": f"Internal error: {type(error).__name__}; see the server's log"}, 500)


class _Service:
    """The models, and the threads that parse requests and run the models.

    The event loop itself only moves bytes, so that probes are answered while models run.
    """

    def __init__(self, models: Mapping[str, Captioner], max_body_mib: int, threads: int) -> None:
        self._models = dict(models)
        self._max_body = max_body_mib * _MIB
        self._pool = futures.ThreadPoolExecutor(threads, thread_name_prefix="model")
        self._warm = {name: self._pool.submit(_warm_up, model) for name, model in models.items()}

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        yield
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def readyz(self, request: Request) -> Response:
        for name, warm in self._warm.items():
            if not warm.done():
                return _Json({"error": f"model {name} is warming up"}, 503)
            if warm.exception() is not None:
                return _Json({"error": f"model {name} failed: {warm.exception()}"}, 503)
        return _Json({"status": "ready"})

    async def handle(self, request: Request) -> Response:
        try:
            # Read the body before checking anything else: a client that is still sending when the
            # reply comes may see a broken pipe instead of it.
            body = await _read_body(request, self._max_body)
        except ClientDisconnect:
            return Response(status_code=_CLIENT_CLOSED_REQUEST)
        target = rest.parse_url(request.method, request.scope["path"])
        model = self._models.get(target.name)
        if model is None or (target.version and int(target.version) != model.version):
            raise target.not_found_error()
        if target.action == "status":
            return _Json(rest.status_reply(model.version))
        if target.action == "metadata":
            reply = rest.metadata_reply(target.name, model.version, model.signature_defs)
            return _Json(reply)
        if target.action != "predict":
            message = f"No signature of this model serves {target.action}; use :predict"
            raise rest.RequestError(400, message)
        loop = asyncio.get_running_loop()
        return _Json(await loop.run_in_executor(self._pool, _predict, model, body))


async def _read_body(request: Request, limit: int) -> bytearray:
    """Returns a request's body; raises RequestError 413 if it is larger than `limit` bytes."""
    body = bytearray()
    size = _announced_size(request)
    if size <= limit:
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            if size <= limit:
                body += chunk
            elif size > _DISCARD_LIMITS * limit:
                break
    if size > limit:
        message = f"larger than the limit of {limit // _MIB} MiB (--max_body_mib)"
        raise rest.RequestError(413, f"The request body is {message}")
    return body


def _announced_size(request: Request) -> int:
    """Returns the size of a body that the client sends only after `100 Continue`, else 0.

    Such a body can be refused by its Content-Length, before it is sent.
    """
    length = request.headers.get("content-length", "")
    expects = request.headers.get("expect", "").lower() == "100-continue"
    return int(length) if expects and length.isdecimal() and len(length) < 20 else 0


def _warm_up(model: Captioner) -> None:
    """Calls each of SIGNATURES once, so that no request waits for graphs to be optimized."""
    import tensorflow as tf

    image = tf.io.encode_jpeg(tf.zeros([32, 32, 3], tf.uint8)).numpy()
    for signature, (inputs, _) in SIGNATURES.items():
        values = {name: [image if name == "image_bytes" else b"a"] for name in inputs}
        for row in model.predict(values, signature):
            if isinstance(row, Failure):
                raise RuntimeError(f"{signature}: {row.reason}")


def _predict(model: Captioner, body: bytearray) -> dict[str, Any]:
    request = rest.parse_request(body)
    return rest.predict_reply(request, model.predict(request.inputs, request.signature))


def serve(
    models: Mapping[str, str],
    *,
    host: str = "127.0.0.1",
    port: int = 8501,
    max_body_mib: int = 64,
    threads: int = 4,
    announce: Callable[[str], None] = logging.info,
) -> None:
    """Serves models until SIGTERM or SIGINT, then finishes the requests that are running.

    Args:
      models: name in the URL -> the folder that `Captioner` takes.
      host: the address to listen on; `0.0.0.0` for all.
      port: the port; 0 for any free one.
      max_body_mib: as in `create_app`.
      threads: as in `create_app`.
      announce: called with one line per model, `serving FOLDER at URL:predict`, as soon as
        requests are accepted.

    Raises:
      UserError: an option is wrong, the port cannot be bound, or a model is missing.
    """
    _check_options(models, max_body_mib, threads)
    # Bind the port first: loading models takes seconds, and a port in use should fail at once.
    with listen(host, port) as listener:
        loaded = {name: Captioner(folder) for name, folder in models.items()}
        app = create_app(loaded, max_body_mib=max_body_mib, threads=threads)
        url = base_url(host, listener.getsockname()[1])
        for name, model in loaded.items():
            announce(f"serving {model.path} at {url}/v1/models/{name}:predict")
        config = uvicorn.Config(
            app, log_level="warning", ws="none", timeout_graceful_shutdown=_SHUTDOWN_SECONDS
        )
        _run(uvicorn.Server(config), listener)


def base_url(host: str, port: int) -> str:
    """Returns the URL of what listens on a host and port, without a path."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def listen(host: str, port: int) -> socket.socket:
    """Returns a socket that listens; port 0 stands for any free one.

    Raises:
      UserError: the address cannot be used, or the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        where = f"--host={host} --port={port}"
        raise UserError(f"{where}: {reason} (choose another; port 0 is any free one)") from error


def _run(server: uvicorn.Server, listener: socket.socket) -> None:
    """Runs a server until a signal stops it.

    After its shutdown uvicorn raises the signal again under the handler that was set before. The
    default handler of SIGTERM would then end the process with a failure status, and that of SIGINT
    would raise KeyboardInterrupt, so both are ignored while this function runs.
    """
    with contextlib.ExitStack() as stack:
        if threading.current_thread() is threading.main_thread():
            previous = signal.signal(signal.SIGTERM, lambda *_: None)
            stack.callback(signal.signal, signal.SIGTERM, previous)
        stack.enter_context(contextlib.suppress(KeyboardInterrupt))
        server.run(sockets=[listener])
