"""TensorFlow Serving's JSON dialect: URLs, predict requests and replies, as pure functions.

URLs, JSON and error messages follow `tensorflow_model_server`'s HTTP handler, so that a client can
switch to it unchanged. https://www.tensorflow.org/tfx/serving/api_rest
"""

from __future__ import annotations

import base64
import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from imcap.serving.captioner import Failure
from imcap.serving.saved_model import DEFAULT_SIGNATURE, SIGNATURES

_MODEL = r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
_PREDICT_URL = re.compile(rf"{_MODEL}:(?P<method>classify|regress|predict)", re.IGNORECASE)
_STATUS_URL = re.compile(rf"{_MODEL}(?P<metadata>/metadata)?", re.IGNORECASE)
_MAX_VERSION = (1 << 63) - 1  # TensorFlow Serving keeps versions in an int64.


class RequestError(Exception):
    """A request that is refused.

    Attributes:
      status: the HTTP status code.
      message: what is wrong, in one line.
      allow: for status 405, the methods that the URL takes.
    """

    def __init__(self, status: int, message: str, allow: str = "") -> None:
        super().__init__(message)
        self.status, self.message, self.allow = status, message, allow


@dataclasses.dataclass(frozen=True)
class Target:
    """What a URL asks for.

    Attributes:
      action: `predict`, `status` or `metadata`; `classify` or `regress`, which no captioner has.
      name: of the model.
      version: as written in the URL; None for the newest.
    """

    action: str
    name: str
    version: str | None = None

    def not_found_error(self) -> RequestError:
        """Returns the error of a model, or a version of it, that is not served."""
        if self.action == "status":
            which = f"version {self.version}" if self.version else "any versions"
            return RequestError(404, f"Could not find {which} of model {self.name}")
        which = f"Specific({self.name}, {self.version})" if self.version else f"Latest({self.name})"
        return RequestError(404, f"Servable not found for request: {which}")


def is_model_name(name: str) -> bool:
    """Tells whether a URL can name a model so."""
    return re.fullmatch(r"[^/:]+", name) is not None


def parse_url(method: str, path: str) -> Target:
    """Returns what an HTTP method and a URL's path ask for.

    Raises:
      RequestError: 404 outside of `/v1/`, 405 for a wrong method, 400 for other mistakes.
    """
    if not path.lower().startswith("/v1/"):
        raise RequestError(404, f"Not found: {path}")
    predict, status = _PREDICT_URL.fullmatch(path), _STATUS_URL.fullmatch(path)
    found = predict or status
    if found is None:
        if method == "GET" and path.lower() == "/v1/models":
            raise RequestError(400, "Missing model name in request.")
        raise RequestError(400, f"Malformed request: {method} {path}")
    allowed = ("POST",) if predict else ("GET", "HEAD")
    if method not in allowed:
        raise RequestError(405, f"Malformed request: {method} {path}", ", ".join(allowed))
    version = _version(found["version"], found["label"])
    if predict:
        return Target(predict["method"].lower(), predict["name"], version)
    return Target("metadata" if found["metadata"] else "status", found["name"], version)


def _version(version: str | None, label: str | None) -> str | None:
    if label is not None:
        raise RequestError(400, f"Unrecognized servable version label: {label}")
    # The number of digits first: int() of a very long number is slow, or refused.
    if version is not None and (len(version) > 19 or int(version) > _MAX_VERSION):
        raise RequestError(400, f"Failed to convert version: {version} to numeric.")
    return version


@dataclasses.dataclass(frozen=True)
class PredictRequest:
    """A parsed predict request.

    Attributes:
      signature: a key of `SIGNATURES`.
      key: `instances` (row format) or `inputs` (column format); the reply has the same format.
      inputs: values by input name; all of the same length, at least 1.
    """

    signature: str
    key: str
    inputs: dict[str, list[bytes]]


def parse_request(body: bytes | bytearray) -> PredictRequest:
    """Parses the body of a predict request.

    Raises:
      RequestError: 400, what is wrong with it.
    """
    request = _parse_json(body)
    signature = request.get("signature_name", "")
    if not isinstance(signature, str):
        raise RequestError(400, "'signature_name' key must be a string value.")
    signature = signature or DEFAULT_SIGNATURE
    if signature not in SIGNATURES:
        missing = f'Serving signature name: "{signature}" not found in signature def'
        raise RequestError(400, missing)
    if ("instances" in request) == ("inputs" in request):
        problem = "Expecting only one of" if "inputs" in request else "Missing"
        raise RequestError(400, f"{problem} 'inputs' or 'instances' key")
    names = sorted(SIGNATURES[signature][0])
    if "instances" in request:
        inputs = _parse_instances(request["instances"], names)
        return PredictRequest(signature, "instances", inputs)
    return PredictRequest(signature, "inputs", _parse_inputs(request["inputs"], names))


def _parse_json(body: bytes | bytearray) -> dict[str, Any]:
    if not body:
        raise RequestError(400, "JSON Parse error: The document is empty")
    try:
        request = json.loads(body.decode("utf-8"))
    except RecursionError as error:
        raise RequestError(400, "JSON Parse error: nested too deeply") from error
    except ValueError as error:
        raise RequestError(400, f"JSON Parse error: {error}") from error
    if not isinstance(request, dict):
        raise RequestError(400, f"JSON Value: {_kind(request)} Is not object")
    return request


def _parse_instances(instances: Any, names: Sequence[str]) -> dict[str, list[bytes]]:
    """Parses the row format: a list of objects, or of bare values if there is one input."""
    if not isinstance(instances, list):
        raise RequestError(400, f"Expecting 'instances' to be a list, not {_kind(instances)}")
    if not instances:
        raise RequestError(400, "No values in 'instances' array")
    is_named = _is_object(instances[0])
    if not is_named and len(names) > 1:
        raise RequestError(400, f"'instances' must be a list of objects with {', '.join(names)}")
    columns: dict[str, list[bytes]] = {name: [] for name in names}
    for index, instance in enumerate(instances):
        where = f"Failed to process element: {index}"
        if _is_object(instance) != is_named:
            raise RequestError(400, f"{where} of 'instances' list: objects and values are mixed")
        row = instance if is_named else {names[0]: instance}
        if sorted(row) != names:
            expected = f"keys must be equal to: {','.join(names)}"
            raise RequestError(400, f"{where} of 'instances' list. JSON object: {expected}")
        for name in names:
            columns[name].append(_to_bytes(row[name], f"{where} key: {name} of 'instances' list"))
    return columns


def _parse_inputs(inputs: Any, names: Sequence[str]) -> dict[str, list[bytes]]:
    """Parses the column format: lists by input name, or a bare list if there is one input."""
    if not _is_object(inputs):
        if len(names) > 1:
            raise RequestError(400, f"'inputs' must be an object with {', '.join(names)}")
        inputs = {names[0]: inputs}
    for name in names:
        if name not in inputs:
            raise RequestError(400, f"Missing named input: {name} in 'inputs' object.")
        if not isinstance(inputs[name], list) or not inputs[name]:
            raise RequestError(400, f"'inputs': {name} must be a list with at least one value")
    sizes = {name: len(inputs[name]) for name in names}
    if len(set(sizes.values())) > 1:
        raise RequestError(400, f"'inputs': the lists differ in length: {sizes}")
    where = "Failed to process element: {} key: {} of 'inputs' object"
    return {n: [_to_bytes(v, where.format(i, n)) for i, v in enumerate(inputs[n])] for n in names}


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and list(value) == ["b64"] and isinstance(value["b64"], str)


def _is_object(value: Any) -> bool:
    """Tells whether a value holds inputs by name, and is not one input in base64."""
    return isinstance(value, dict) and not _is_base64(value)


def _to_bytes(value: Any, where: str) -> bytes:
    try:
        if _is_base64(value):
            text = "".join(value["b64"].split())
            # The padding may be missing, as in TensorFlow Serving.
            text += "=" * (-len(text) % 4) if "=" not in text else ""
            return base64.b64decode(text, validate=True)
        if isinstance(value, str):
            return value.encode()
    except UnicodeEncodeError as error:
        raise RequestError(400, f"{where}. Error: not valid Unicode") from error
    except ValueError as error:
        raise RequestError(400, f"{where}. Error: Unable to base64 decode: {error}") from error
    expected = 'a string, or {"b64": "…"} for bytes'
    raise RequestError(400, f"{where}. Error: expecting {expected}, not {_kind(value)}")


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    return "null" if value is None else kinds.get(type(value), "a number")


def predict_reply(
    request: PredictRequest, rows: Sequence[Mapping[str, Any] | Failure]
) -> dict[str, Any]:
    """Returns the reply to a predict request, in the request's format.

    Args:
      request: what was asked.
      rows: for each row of inputs, all outputs of the signature by name.

    Raises:
      RequestError: a row failed: 429 if memory ran out, else 400.
    """
    outputs = []
    for index, row in enumerate(rows):
        if isinstance(row, Failure):
            container = "list" if request.key == "instances" else "object"
            where = f"Failed to process element: {index} of {request.key!r} {container}"
            status = 429 if row.out_of_memory else 400
            raise RequestError(status, f"{where}. Error: {row.reason}")
        outputs.append(row)
    if request.key == "instances":
        return {"predictions": [_unnamed(row) for row in outputs]}
    return {"outputs": _unnamed({name: [row[name] for row in outputs] for name in outputs[0]})}


def _unnamed(outputs: Mapping[str, Any]) -> Any:
    # TensorFlow Serving omits the name if there is one output.
    return next(iter(outputs.values())) if len(outputs) == 1 else outputs


def status_reply(version: int) -> dict[str, Any]:
    """Returns the status of a model of which one version is loaded."""
    status = {"error_code": "OK", "error_message": ""}
    state = {"version": str(version), "state": "AVAILABLE", "status": status}
    return {"model_version_status": [state]}


def metadata_reply(name: str, version: int, signature_defs: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a model's signatures; `signature_defs` is the JSON form of each, by name."""
    spec = {"name": name, "signature_name": "", "version": str(version)}
    # The key appears twice: it is the metadata's key and the field of its SignatureDefMap.
    signature_def = {"signature_def": signature_defs}
    return {"model_spec": spec, "metadata": {"signature_def": signature_def}}
