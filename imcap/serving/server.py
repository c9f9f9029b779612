"""TensorFlow Serving's REST API over exported captioners.

Paths, JSON and messages follow `tensorflow_model_server`'s HTTP handler, so that a client can move
to it unchanged. Beyond it: `/healthz`, `/readyz`, a limit on the body (413), 405 for a wrong method
(it says 400), and the index of an image that cannot be decoded.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
import signal
import socket
import threading
from collections.abc import AsyncIterator, Mapping
from concurrent import futures
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from imcap.errors import UserError
from imcap.serving.captioner import DEFAULT_SIGNATURE, SIGNATURES, Captioner, Failure

_MODEL = r"/v1/models/([^/:]+)(?:/versions/([0-9]+)|/labels/([^/:]+))?"
_PREDICT = re.compile(rf"{_MODEL}:(classify|regress|predict)", re.IGNORECASE)
_STATUS = re.compile(rf"{_MODEL}(/metadata)?", re.IGNORECASE)
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_MIB = 1 << 20
_MAX_VERSION = (1 << 63) - 1
# How many times the limit the server reads of a body before it gives up: a client that is still
# sending when the connection closes sees a broken pipe instead of the 413.
_DRAIN = 4
_SHUTDOWN_SECONDS = 30


class _Json(JSONResponse):
    """JSON in ASCII, which can carry lone surrogates, with TF Serving's NaN and Infinity tokens."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, separators=(",", ":")).encode("ascii")


def create_app(
    models: Mapping[str, Captioner], *, max_body_mib: int = 64, threads: int = 4
) -> Starlette:
    """Returns the ASGI application that serves loaded models; it starts to warm them up at once.

    Args:
      models: by the name that stands in the URL.
      max_body_mib: the largest request body, in MiB.
      threads: how many requests are worked on at a time; the others wait.

    Raises:
      UserError: no model, a name that no URL can hold, or a limit below 1.
    """
    _check_options(models, max_body_mib, threads)
    service = _Service(models, max_body_mib, threads)
    routes = [
        Route("/healthz", _healthz),
        Route("/readyz", service.readyz),
        Route("/{path:path}", service.handle, methods=_METHODS),
    ]
    handlers = {HTTPException: _http_error, Exception: _internal_error}
    return Starlette(routes=routes, exception_handlers=handlers, lifespan=service.lifespan)


def _check_options(models: Mapping[str, Any], max_body_mib: int, threads: int) -> None:
    if not models:
        raise UserError("no model to serve: give at least one --model=NAME=DIR")
    for name in models:
        if not re.fullmatch(r"[^/:]+", name):
            raise UserError(f"--model={name}=…: a model's name is part of a URL: no '/', no ':'")
    for flag, value in {"max_body_mib": max_body_mib, "threads": threads}.items():
        if value < 1:
            raise UserError(f"--{flag}={value}: must be at least 1")


def _healthz(request: Request) -> Response:
    return _Json({"status": "ok"})


def _http_error(request: Request, error: HTTPException) -> Response:
    return _Json({"error": error.detail}, error.status_code, error.headers)


def _internal_error(request: Request, error: Exception) -> Response:
    return _Json({"error": f"Internal error: {type(error).__name__}; see the server's log"}, 500)


class _Service:
    def __init__(self, models: Mapping[str, Captioner], max_body_mib: int, threads: int) -> None:
        self._models = dict(models)
        self._max_body = max_body_mib * _MIB
        # Parsing and the model run here, so that the event loop stays free to answer probes.
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
        path, method = request.scope["path"], request.method
        if not path.lower().startswith("/v1/"):
            raise HTTPException(404, f"Not found: {path}")
        predict, status = _PREDICT.fullmatch(path), _STATUS.fullmatch(path)
        allowed = {"POST"} if predict else {"GET", "HEAD"} if status else {method}
        if method not in allowed:
            allow = {"Allow": ", ".join(sorted(allowed))}
            raise HTTPException(405, f"Malformed request: {method} {path}", allow)
        if predict:
            return await self._predict(request, *predict.groups())
        if status:
            return self._status(*status.groups())
        if method == "GET" and path.lower() == "/v1/models":
            raise HTTPException(400, "Missing model name in request.")
        raise HTTPException(400, f"Malformed request: {method} {path}")

    def _model(self, name: str, version: str | None, label: str | None, missing: str) -> Captioner:
        if label is not None:
            raise HTTPException(400, f"Unrecognized servable version label: {label}")
        if version is not None and (len(version) > 19 or int(version) > _MAX_VERSION):
            raise HTTPException(400, f"Failed to convert version: {version} to numeric.")
        model = self._models.get(name)
        if model is None or (version is not None and int(version) != model.version):
            raise HTTPException(404, missing)
        return model

    def _status(
        self, name: str, version: str | None, label: str | None, metadata: str | None
    ) -> Response:
        if metadata:
            model = self._model(name, version, label, _not_found(name, version))
            return _Json(_metadata(name, model))
        which = f"version {version}" if version else "any versions"
        model = self._model(name, version, label, f"Could not find {which} of model {name}")
        status = {"error_code": "OK", "error_message": ""}
        state = {"version": str(model.version), "state": "AVAILABLE", "status": status}
        return _Json({"model_version_status": [state]})

    async def _predict(
        self, request: Request, name: str, version: str | None, label: str | None, method: str
    ) -> Response:
        try:
            # Before the checks: an answer ahead of the body breaks off a client still sending it.
            body = await self._body(request)
        except ClientDisconnect:
            return Response(status_code=499)
        model = self._model(name, version, label, _not_found(name, version))
        if method.lower() != "predict":
            raise HTTPException(400, f"No signature of this model serves {method}; use :predict")
        loop = asyncio.get_running_loop()
        return _Json(await loop.run_in_executor(self._pool, _answer, model, body))

    async def _body(self, request: Request) -> bytearray:
        body = bytearray()
        size = _announced(request)
        if size <= self._max_body:
            size = 0
            async for chunk in request.stream():
                size += len(chunk)
                if size <= self._max_body:
                    body += chunk
                elif size > _DRAIN * self._max_body:
                    break
        if size > self._max_body:
            limit = f"{self._max_body // _MIB} MiB (--max_body_mib)"
            raise HTTPException(413, f"The request body is larger than the limit of {limit}")
        return body


def _announced(request: Request) -> int:
    """Returns the size of a body whose client waits for leave to send it; else 0: read and see."""
    length = request.headers.get("content-length", "")
    waits = request.headers.get("expect", "").lower() == "100-continue"
    return int(length) if waits and length.isdecimal() and len(length) < 20 else 0


def _not_found(name: str, version: str | None) -> str:
    which = f"Specific({name}, {version})" if version else f"Latest({name})"
    return f"Servable not found for request: {which}"


def _metadata(name: str, model: Captioner) -> dict[str, Any]:
    spec = {"name": name, "signature_name": "", "version": str(model.version)}
    # Twice: the field `signature_def` of the message SignatureDefMap under the key of that name.
    signature_def = {"signature_def": model.signature_defs}
    return {"model_spec": spec, "metadata": {"signature_def": signature_def}}


def _warm_up(model: Captioner) -> None:
    import tensorflow as tf

    image = tf.io.encode_jpeg(tf.zeros([32, 32, 3], tf.uint8)).numpy()
    for signature, (inputs, _) in SIGNATURES.items():
        values = {name: [image if name == "image_bytes" else b"a"] for name in inputs}
        for row in model.predict(values, signature):
            if isinstance(row, Failure):
                raise RuntimeError(f"{signature}: {row.reason}")


def _answer(model: Captioner, body: bytearray) -> dict[str, Any]:
    """Returns the reply to one predict request; what the client did wrong is an HTTPException."""
    request = _parse(body)
    signature = request.get("signature_name", "")
    if not isinstance(signature, str):
        raise HTTPException(400, "'signature_name' key must be a string value.")
    signature = signature or DEFAULT_SIGNATURE
    if signature not in SIGNATURES:
        missing = f'Serving signature name: "{signature}" not found in signature def'
        raise HTTPException(400, missing)
    if ("instances" in request) == ("inputs" in request):
        problem = "Expecting only one of" if "inputs" in request else "Missing"
        raise HTTPException(400, f"{problem} 'inputs' or 'instances' key")
    key = "instances" if "instances" in request else "inputs"
    names = sorted(SIGNATURES[signature][0])
    columns = (_from_rows if key == "instances" else _from_columns)(request[key], names)
    rows = _rows_or_error(model.predict(columns, signature), key)
    return {"predictions": _bare(rows)} if key == "instances" else {"outputs": _columns(rows)}


def _parse(body: bytearray) -> dict[str, Any]:
    if not body:
        raise HTTPException(400, "JSON Parse error: The document is empty")
    try:
        request = json.loads(body.decode("utf-8"))
    except RecursionError as error:
        raise HTTPException(400, "JSON Parse error: nested too deeply") from error
    except ValueError as error:
        raise HTTPException(400, f"JSON Parse error: {error}") from error
    if not isinstance(request, dict):
        raise HTTPException(400, f"JSON Value: {_kind(request)} Is not object")
    return request


def _from_rows(instances: Any, names: list[str]) -> dict[str, list[bytes]]:
    if not isinstance(instances, list):
        raise HTTPException(400, f"Expecting 'instances' to be a list, not {_kind(instances)}")
    if not instances:
        raise HTTPException(400, "No values in 'instances' array")
    named = _is_named(instances[0])
    if not named and len(names) > 1:
        raise HTTPException(400, f"'instances' must be a list of objects with {', '.join(names)}")
    columns: dict[str, list[bytes]] = {name: [] for name in names}
    for index, instance in enumerate(instances):
        where = f"Failed to process element: {index}"
        if _is_named(instance) != named:
            raise HTTPException(400, f"{where} of 'instances' list: objects and values are mixed")
        row = instance if named else {names[0]: instance}
        if sorted(row) != names:
            wanted = f"keys must be equal to: {','.join(names)}"
            raise HTTPException(400, f"{where} of 'instances' list. JSON object: {wanted}")
        for name in names:
            columns[name].append(_bytes(row[name], f"{where} key: {name} of 'instances' list"))
    return columns


def _from_columns(inputs: Any, names: list[str]) -> dict[str, list[bytes]]:
    if not _is_named(inputs):
        if len(names) > 1:
            raise HTTPException(400, f"'inputs' must be an object with {', '.join(names)}")
        inputs = {names[0]: inputs}
    for name in names:
        if name not in inputs:
            raise HTTPException(400, f"Missing named input: {name} in 'inputs' object.")
        if not isinstance(inputs[name], list) or not inputs[name]:
            raise HTTPException(400, f"'inputs': {name} must be a list with at least one value")
    sizes = {name: len(inputs[name]) for name in names}
    if len(set(sizes.values())) > 1:
        raise HTTPException(400, f"'inputs': the lists differ in length: {sizes}")
    where = "Failed to process element: {} key: {} of 'inputs' object"
    return {n: [_bytes(v, where.format(i, n)) for i, v in enumerate(inputs[n])] for n in names}


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and list(value) == ["b64"] and isinstance(value["b64"], str)


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and not _is_base64(value)


def _bytes(value: Any, where: str) -> bytes:
    try:
        if _is_base64(value):
            text = "".join(value["b64"].split())
            # Padding may be left out, as TF Serving allows.
            text += "=" * (-len(text) % 4) if "=" not in text else ""
            return base64.b64decode(text, validate=True)
        if isinstance(value, str):
            return value.encode()
    except UnicodeEncodeError as error:
        raise HTTPException(400, f"{where}. Error: not valid Unicode") from error
    except ValueError as error:
        raise HTTPException(400, f"{where}. Error: Unable to base64 decode: {error}") from error
    wanted = 'a string, or {"b64": "…"} for bytes'
    raise HTTPException(400, f"{where}. Error: expecting {wanted}, not {_kind(value)}")


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    return "null" if value is None else kinds.get(type(value), "a number")


def _rows_or_error(rows: list[dict[str, Any] | Failure], key: str) -> list[dict[str, Any]]:
    for index, row in enumerate(rows):
        if isinstance(row, Failure):
            kind = "list" if key == "instances" else "object"
            message = f"Failed to process element: {index} of {key!r} {kind}. Error: {row.reason}"
            raise HTTPException(429 if row.exhausted else 400, message)
    return rows


def _bare(rows: list[dict[str, Any]]) -> list[Any]:
    # TF Serving leaves out the name of an only output.
    return [next(iter(row.values())) if len(row) == 1 else row for row in rows]


def _columns(rows: list[dict[str, Any]]) -> Any:
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    return next(iter(columns.values())) if len(columns) == 1 else columns


def serve(
    models: Mapping[str, str],
    *,
    host: str = "127.0.0.1",
    port: int = 8501,
    max_body_mib: int = 64,
    threads: int = 4,
) -> None:
    """Serves models until SIGTERM or SIGINT, then finishes the requests it has.

    Args:
      models: name in the URL -> what `Captioner` takes.
      host: the address to listen on; `0.0.0.0` for all.
      port: the port; 0 for any free one (it is printed).
      max_body_mib: as in `create_app`.
      threads: as in `create_app`.

    Raises:
      UserError: an option is wrong, the port is not to be had, or a model is missing.
    """
    _check_options(models, max_body_mib, threads)
    # The port first: to be told that it is taken should not have to wait for the models.
    with _listen(host, port) as listener:
        loaded = {name: Captioner(directory) for name, directory in models.items()}
        app = create_app(loaded, max_body_mib=max_body_mib, threads=threads)
        shown = f"[{host}]" if ":" in host else host
        for name, model in loaded.items():
            url = f"http://{shown}:{listener.getsockname()[1]}/v1/models/{name}"
            print(f"serving {model.path} at {url}:predict", flush=True)
        config = uvicorn.Config(
            app, log_level="warning", ws="none", timeout_graceful_shutdown=_SHUTDOWN_SECONDS
        )
        _run(uvicorn.Server(config), listener)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        where = f"--host={host} --port={port}"
        raise UserError(f"{where}: {reason} (choose another; port 0 is any free one)") from error


def _run(server: uvicorn.Server, listener: socket.socket) -> None:
    # uvicorn shuts down on a signal and then raises it again, which would end the process as if
    # the shutdown had failed.
    with contextlib.ExitStack() as restore:
        if threading.current_thread() is threading.main_thread():
            previous = signal.signal(signal.SIGTERM, lambda *_: None)
            restore.callback(signal.signal, signal.SIGTERM, previous)
        restore.enter_context(contextlib.suppress(KeyboardInterrupt))
        server.run(sockets=[listener])
