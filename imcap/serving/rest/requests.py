"""The bodies of predict requests: JSON to inputs by name."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from imcap.serving.rest.errors import RequestError
from imcap.serving.saved_model import DEFAULT_SIGNATURE, SIGNATURES

_COMMAS_PER_INSTANCE = 200  # Base64 has none, a caption that is to be scored a few.


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


def parse_request(body: bytes | bytearray, max_instances: int = 1 << 30) -> PredictRequest:
    """Parses the body of a predict request.

    Args:
      body: JSON.
      max_instances: a request with more of them is refused.

    Raises:
      RequestError: 400, what is wrong with it.
    """
    # Python's parser blocks all threads: seconds for a large body of tiny values.
    if body.count(b",") > _COMMAS_PER_INSTANCE * max_instances:
        raise RequestError(400, f"'instances' or 'inputs': more than {max_instances} rows")
    parsed = _parse_rows(body)
    if (rows := len(next(iter(parsed.inputs.values())))) > max_instances:
        message = f"{rows} rows; at most {max_instances} are accepted (--max_instances)"
        raise RequestError(400, f"{parsed.key!r}: {message}")
    return parsed


def _parse_rows(body: bytes | bytearray) -> PredictRequest:
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
