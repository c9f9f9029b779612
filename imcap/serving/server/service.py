"""What the routes do: requests are parsed on threads, and their instances go to the batcher."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import json
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent import futures
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from imcap.serving import rest
from imcap.serving.captioner import Captioner
from imcap.serving.saved_model import DEFAULT_SIGNATURE
from imcap.serving.server import captions, image_limits
from imcap.serving.server.batching import Batcher, QueueFullError
from imcap.serving.server.bodies import Bodies
from imcap.serving.server.limits import Limits
from imcap.serving.server.metrics import CONTENT_TYPE, Metrics
from imcap.serving.server.model_config import ModelConfig
from imcap.serving.server.models import Models

_PARSING_THREADS = 2  # They take the models' cores.


class Json(JSONResponse):
    """JSON in ASCII, which can encode lone surrogates; NaN and Infinity as TF Serving does."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, separators=(",", ":")).encode("ascii")


@dataclasses.dataclass(frozen=True)
class Watch:
    """How the models' folders are followed; see `Models.watch`."""

    seconds: float
    read_configs: Callable[[], Sequence[ModelConfig] | None] = lambda: None


class Service:
    """Parses requests on threads of its own, and hands their instances to the batcher.

    The event loop itself only moves bytes, so that probes are answered while models run.
    """

    def __init__(self, models: Models, limits: Limits, watch: Watch) -> None:
        """Takes what `create_app` was given."""
        self.metrics = Metrics()
        self._models, self._limits, self._watch = models, limits, watch
        self._bodies = Bodies(limits.body_bytes)
        self._batcher = Batcher(
            max_batch_size=limits.max_batch_size,
            timeout_s=limits.batch_timeout_ms / 1000,
            max_waiting=limits.max_waiting,
            observe=self.metrics.observe_batch,
        )
        self._parsers = futures.ThreadPoolExecutor(_PARSING_THREADS, thread_name_prefix="parse")

    def tasks(self) -> list[Coroutine[Any, Any, None]]:
        """Returns what has to run while requests are answered."""
        watch = self._watch
        return [
            self._batcher.run(),
            self._models.watch(self._batcher, watch.seconds, watch.read_configs),
        ]

    def close(self) -> None:
        """Lets the threads end."""
        self._batcher.close()
        self._parsers.shutdown(wait=False, cancel_futures=True)

    async def readyz(self, request: Request) -> Response:
        """Answers whether all models are warmed up."""
        problem = "shutting down" if request.app.state.draining else self._models.problem
        return Json({"error": problem}, 503) if problem else Json({"status": "ready"})

    async def show_metrics(self, request: Request) -> Response:
        """Answers Prometheus."""
        content = self.metrics.render(
            waiting=self._batcher.waiting, held=self._bodies.held, versions=self._models.states()
        )
        return Response(content, media_type=CONTENT_TYPE)

    async def handle(self, request: Request) -> Response:
        """Answers a request of TensorFlow Serving's API."""
        # Read the body before checking anything else: a client that is still sending when the
        # reply comes may see a broken pipe instead of it.
        async with self._bodies.read(request) as body:
            target = rest.parse_url(request.method, request.scope["path"])
            if target.action == "status":
                return Json(rest.status_reply(self._models.status(target)))
            model = self._models.find(target)
            request.state.model, request.state.method = target.name, target.action
            if target.action == "metadata":
                reply = rest.metadata_reply(target.name, model.version, model.signature_defs)
                return Json(reply)
            if target.action != "predict":
                message = f"No signature of this model serves {target.action}; use :predict"
                raise rest.RequestError(400, message)
            return Json(await self._predict(request, model, body))

    async def caption(self, request: Request) -> Response:
        """Answers an image that is the body itself."""
        async with self._bodies.read(request) as body:
            if request.method != "POST":
                raise rest.RequestError(405, captions.HINT, allow="POST")
            query = request.query_params
            name = query.get("model", self._models.first_name())
            model = self._models.find(rest.Target("caption", name))
            request.state.model, request.state.method = name, "caption"
            top = captions.parse_top(query.get("top", ""))
            captions.check_body(request.headers.get("content-type", ""), body)
            image = bytes(body)
            loop = asyncio.get_running_loop()
            check = functools.partial(image_limits.check_images, [image], self._limits, "")
            await loop.run_in_executor(self._parsers, check)
            (row,) = await self._infer(request, model, DEFAULT_SIGNATURE, {"image_bytes": [image]})
            return Json(captions.caption_reply(name, model, row, top))

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
