"""The process that serves models: it loads them, accepts connections, and ends after a signal."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import signal
import socket
import threading
from collections.abc import Callable, Mapping

import uvicorn
from absl import logging
from starlette.applications import Starlette

from imcap.serving.captioner import Captioner
from imcap.serving.server import connections, sockets
from imcap.serving.server.application import create_app
from imcap.serving.server.limits import Limits
from imcap.serving.server.model_config import ConfigSource
from imcap.serving.server.models import Models
from imcap.serving.server.service import Watch

_SHUTDOWN_SECONDS = 30  # How long running requests may take to finish after SIGTERM.
# After SIGTERM clients may still send on open connections: their next request is on its way.
_DRAINING_SECONDS = 0.5
_BACKLOG = 1024  # Connections that the kernel keeps until they are accepted.


def serve(
    models: Mapping[str, str],
    *,
    host: str = "127.0.0.1",
    port: int = 8501,
    limits: Limits | None = None,
    model_config_file: str = "",
    poll_seconds: float = 1.0,
    announce: Callable[[str], None] = logging.info,
) -> None:
    """Serves models until SIGTERM or SIGINT, then finishes the requests that it has accepted.

    Args:
      models: name in the URL -> the folder that `Captioner` takes; its newest version is served.
      host: the address to listen on; `0.0.0.0` for all.
      port: the port; 0 for any free one.
      limits: what the server accepts.
      model_config_file: further models, in TensorFlow Serving's format; see `model_config.read`.
      poll_seconds: how often folders and that file are looked at for changes; 0: never.
      announce: called with one line per model, `serving FOLDER at URL:predict`, as soon as
        requests are accepted.

    Raises:
      UserError: an option is wrong, the port cannot be bound, or a model is missing.
    """
    limits = limits or Limits()
    # Bind the port first: loading models takes seconds, and a port in use should fail at once.
    with sockets.listen(host, port) as listener:
        source = ConfigSource(models, model_config_file)
        served = Models(functools.partial(Captioner, batch_size=limits.max_batch_size))
        # The paths only: a variable with a model would keep it for as long as the server runs.
        loaded = [
            (model.path, config.name) for config in source.read() for model in served.load(config)
        ]
        app = create_app(served, limits, Watch(poll_seconds, source.read_if_changed))
        url = sockets.base_url(host, listener.getsockname()[1])
        for path, name in loaded:
            announce(f"serving {path} at {url}/v1/models/{name}:predict")
        run(app, listener, limits.max_connections)


def run(app: Starlette, listener: socket.socket, max_connections: int) -> None:
    """Runs an application until a signal stops it.

    After its shutdown uvicorn raises the signal again under the handler that was set before. The
    default handler of SIGTERM would then end the process with a failure status, and that of SIGINT
    would raise KeyboardInterrupt, so both are ignored while this function runs.

    Args:
      app: of `create_app`.
      listener: the socket that listens.
      max_connections: the most open ones.
    """

    class Connection(connections.LimitedConnection):
        pass

    Connection.max_connections = connections.prepare_process(max_connections)
    config = uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        # Requests that break the protocol would fill the log with warnings.
        log_level="error",
        backlog=connections.ACCEPTED_AT_ONCE,
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
    )
    with contextlib.ExitStack() as stack:
        if threading.current_thread() is threading.main_thread():
            previous = signal.signal(signal.SIGTERM, lambda *_: None)
            stack.callback(signal.signal, signal.SIGTERM, previous)
        stack.enter_context(contextlib.suppress(KeyboardInterrupt))
        _Server(config, app).run(sockets=[listener])


class _Server(uvicorn.Server):
    """A server that, before it ends, answers what clients have sent already."""

    def __init__(self, config: uvicorn.Config, app: Starlette) -> None:
        super().__init__(config)
        self._app = app

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or []:
            listener.listen(_BACKLOG)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.state.draining = True
        for server in self.servers:
            server.close()
        await asyncio.sleep(_DRAINING_SECONDS)
        await super().shutdown(sockets)
