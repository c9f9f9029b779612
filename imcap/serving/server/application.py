"""The ASGI application: TensorFlow Serving's API, captions of plain images, metrics, and probes.

Beyond TensorFlow Serving's API (`rest`) it has `/caption`, `/healthz`, `/readyz`, limits on
requests, status 405 for a wrong method (TensorFlow Serving says 400), and error messages that give
the index of an image that cannot be decoded.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from imcap.serving import rest
from imcap.serving.captioner import Captioner
from imcap.serving.server import metrics
from imcap.serving.server import models as models_lib
from imcap.serving.server.limits import Limits
from imcap.serving.server.service import Json, Service, Watch

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_CLIENT_CLOSED_REQUEST = 499  # nginx's status for the log; the client does not see it.


def create_app(
    models: Mapping[str, Captioner] | models_lib.Models,
    limits: Limits | None = None,
    watch: Watch | None = None,
) -> Starlette:
    """Returns the ASGI application that serves loaded models; it warms them up when it starts.

    While its `state.draining` is true, every reply closes its connection.

    Args:
      models: by the name in the URL.
      limits: what it accepts.
      watch: how it follows the folders of the models; None: it does not.

    Raises:
      UserError: no model, or a name that no URL can contain.
    """
    if not isinstance(models, models_lib.Models):
        models = models_lib.of_captioners(models)
    service = Service(models, limits or Limits(), watch or Watch(0))
    routes = [
        Route("/healthz", _healthz),
        Route("/readyz", service.readyz),
        Route(metrics.PATH, service.show_metrics),
        Route("/caption", service.caption, methods=_METHODS),
        Route("/{path:path}", service.handle, methods=_METHODS),
    ]
    handlers: dict[Any, Any] = {
        rest.RequestError: _request_error,
        HTTPException: _http_error,
        ClientDisconnect: _disconnected,
        Exception: _internal_error,
    }
    app = Starlette(routes=routes, exception_handlers=handlers, lifespan=_lifespan(service))
    app.state.draining = False
    app.add_middleware(_Outermost, state=app.state, metrics=service.metrics)
    return app


def _lifespan(service: Service) -> Any:
    @contextlib.asynccontextmanager
    async def run(app: Starlette) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(task) for task in service.tasks()]
        yield
        for task in tasks:
            task.cancel()
        service.close()

    return run


class _Outermost:
    """Counts requests, and closes connections with their replies before the server ends."""

    def __init__(self, app: ASGIApp, state: Any, metrics: metrics.Metrics) -> None:
        self._app, self._state, self._metrics = app, state, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, request = time.monotonic(), scope.setdefault("state", {})

        async def send_counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                model, method = request.get("model", ""), request.get("method", "other")
                seconds = time.monotonic() - began
                self._metrics.observe_request(model, method, message["status"], seconds)
                if self._state.draining:
                    message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        await self._app(scope, receive, send_counted)


def _healthz(request: Request) -> Response:
    return Json({"status": "ok"})


def _request_error(request: Request, error: rest.RequestError) -> Response:
    return Json({"error": error.message}, error.status, error.headers)


def _http_error(request: Request, error: HTTPException) -> Response:
    return Json({"error": error.detail}, error.status_code, error.headers)


def _disconnected(request: Request, error: ClientDisconnect) -> Response:
    return Response(status_code=_CLIENT_CLOSED_REQUEST)


def _internal_error(request: Request, error: Exception) -> Response:
    return Json({"error": f"Internal error: {type(error).__name__}; see the server's log"}, 500)
