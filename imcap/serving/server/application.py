"""The ASGI application: TensorFlow Serving's API with limits and probes.

Beyond TensorFlow Serving's API (`rest`) it has `/healthz`, `/readyz`, limits on requests, status
405 for a wrong method (TensorFlow Serving says 400), and error messages that give the index of an
image that cannot be decoded.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent import futures
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from imcap.serving import rest
from imcap.serving.captioner import Captioner
from imcap.serving.server import image_limits
from imcap.serving.server.batching import Batcher, QueueFullError
from imcap.serving.server.bodies import Bodies
from imcap.serving.server.limits import Limits
from imcap.serving.server.models import Models

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_CLIENT_CLOSED_REQUEST = 499  # nginx's status for the log; the client does not see it.
_PARSING_THREADS = 2  # They take the models' cores.


class _Json(JSONResponse):
    """JSON in ASCII, which can encode lone surrogates; NaN and Infinity as TF Serving does."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, separators=(",", ":")).encode("ascii")


def create_app(models: Mapping[str, Captioner], limits: Limits | None = None) -> Starlette:
    """Returns the ASGI application that serves loaded models; it warms them up when it starts.

    While its `state.draining` is true, every reply closes its connection.

    Args:
      models: by the name in the URL.
      limits: what it accepts.

    Raises:
      UserError: no model, or a name that no URL can contain.
    """
    service = _Service(Models(models), limits or Limits())
    routes = [
        Route("/healthz", _healthz),
        Route("/readyz", service.readyz),
        Route("/{path:path}", service.handle, methods=_METHODS),
    ]
    handlers: dict[Any, Any] = {
        rest.RequestError: _request_error,
        HTTPException: _http_error,
        ClientDisconnect: _disconnected,
        Exception: _internal_error,
    }
    app = Starlette(routes=routes, exception_handlers=handlers, lifespan=service.lifespan)
    app.state.draining = False
    app.add_middleware(_Draining, state=app.state)
    return app


class _Draining:
    """Closes connections with their replies before the server ends."""

    def __init__(self, app: ASGIApp, state: Any) -> None:
        self._app, self._state = app, state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_last(message: Message) -> None:
            if message["type"] == "http.response.start" and self._state.draining:
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        await self._app(scope, receive, send_last)


def _healthz(request: Request) -> Response:
    return _Json({"status": "ok"})


def _request_error(request: Request, error: rest.RequestError) -> Response:
    return _Json({"error": error.message}, error.status, error.headers)


def _http_error(request: Request, error: HTTPException) -> Response:
    return _Json({"error": error.detail}, error.status_code, error.headers)


def _disconnected(request: Request, error: ClientDisconnect) -> Response:
    return Response(status_code=_CLIENT_CLOSED_REQUEST)


def _internal_error(request: Request, error: Exception) -> Response:
    return _Json({"error": f"Internal error: {type(error).__name__}; see the server's log"}, 500)


class _Service:
    """Parses requests on threads of its own, and hands their instances to the batcher.

    The event loop itself only moves bytes, so that probes are answered while models run.
    """

    def __init__(self, models: Models, limits: Limits) -> None:
        self._models, self._limits = models, limits
        self._bodies = Bodies(limits.body_bytes)
        self._batcher = Batcher(
            max_batch_size=limits.max_batch_size,
            timeout_s=limits.batch_timeout_ms / 1000,
            max_waiting=limits.max_waiting,
        )
        self._parsers = futures.ThreadPoolExecutor(_PARSING_THREADS, thread_name_prefix="parse")

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        tasks = [self._batcher.run(), self._models.warm_up(self._batcher)]
        running = [asyncio.create_task(task) for task in tasks]
        yield
        for task in running:
            task.cancel()
        self._batcher.close()
        self._parsers.shutdown(wait=False, cancel_futures=True)

    async def readyz(self, request: Request) -> Response:
        problem = "shutting down" if request.app.state.draining else self._models.problem
        return _Json({"error": problem}, 503) if problem else _Json({"status": "ready"})

    async def handle(self, request: Request) -> Response:
        # Read the body before checking anything else: a client that is still sending when the
        # reply comes may see a broken pipe instead of it.
        async with self._bodies.read(request) as body:
            target = rest.parse_url(request.method, request.scope["path"])
            model = self._models.find(target)
            if target.action == "status":
                return _Json(rest.status_reply(model.version))
            if target.action == "metadata":
                reply = rest.metadata_reply(target.name, model.version, model.signature_defs)
                return _Json(reply)
            if target.action != "predict":
                message = f"No signature of this model serves {target.action}; use :predict"
                raise rest.RequestError(400, message)
            return _Json(await self._predict(request, model, body))

    async def _predict(self, request: Request, model: Captioner, body: bytearray) -> Any:
        loop = asyncio.get_running_loop()
        parsed = await loop.run_in_executor(self._parsers, _parse, body, self._limits)
        rows = await self._infer(request, model, parsed.signature, parsed.inputs)
        return rest.predict_reply(parsed, rows)

    async def _infer(
        self,
        request: Request,
        model: Captioner,
        signature: str,
        inputs: Mapping[str, Sequence[bytes]],
    ) -> list[Any]:
        """Returns a signature's answers; raises what the model raised, or RequestError."""
        predict = functools.partial(model.predict, signature=signature)
        answers = asyncio.ensure_future(self._batcher.submit((model, signature), predict, inputs))
        left = asyncio.ensure_future(_wait_until_client_leaves(request))
        timeout = self._limits.request_timeout_s
        try:
            await asyncio.wait(
                {answers, left}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED
            )
            if answers.done():
                return _raise_first(answers.result())
            if left.done():
                raise ClientDisconnect
            raise rest.RequestError(504, f"Timed out after {timeout:g} s (--request_timeout_s)")
        except QueueFullError as error:
            message = f"Too many requests are waiting; {error} (--max_waiting)"
            raise rest.RequestError(503, message, retry_after=error.retry_after) from error
        finally:
            answers.cancel()
            left.cancel()


def _parse(body: bytearray, limits: Limits) -> rest.PredictRequest:
    parsed = rest.parse_request(body, limits.max_instances)
    where = rest.where_of_row(parsed.key)
    image_limits.check_images(parsed.inputs["image_bytes"], limits, where)
    return parsed


def _raise_first(rows: list[Any]) -> list[Any]:
    for row in rows:
        if isinstance(row, Exception):
            raise row
    return rows


async def _wait_until_client_leaves(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
