"""Replies: predictions, a model's state, and its signatures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from imcap.serving.captioner import Failure
from imcap.serving.rest.errors import RequestError, where_of_row
from imcap.serving.rest.requests import PredictRequest


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
            message = f"{where_of_row(request.key).format(index)}{row.reason}"
            if row.out_of_memory:
                raise RequestError(429, message, retry_after=1)
            raise RequestError(400, message)
        outputs.append(row)
    if request.key == "instances":
        return {"predictions": [_unnamed(row) for row in outputs]}
    return {"outputs": _unnamed({name: [row[name] for row in outputs] for name in outputs[0]})}


def _unnamed(outputs: Mapping[str, Any]) -> Any:
    # TensorFlow Serving omits the name if there is one output.
    return next(iter(outputs.values())) if len(outputs) == 1 else outputs


def status_reply(versions: Sequence[tuple[int, str, str]]) -> dict[str, Any]:
    """Returns the status of versions; of each its number, its state, and an error or nothing."""
    found = []
    for number, state, error in versions:
        code = "UNKNOWN" if error else "OK"  # TensorFlow Serving's name of the status.
        status = {"error_code": code, "error_message": error}
        found.append({"version": str(number), "state": state, "status": status})
    return {"model_version_status": found}


def metadata_reply(name: str, version: int, signature_defs: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a model's signatures; `signature_defs` is the JSON form of each, by name."""
    spec = {"name": name, "signature_name": "", "version": str(version)}
    # The key appears twice: it is the metadata's key and the field of its SignatureDefMap.
    signature_def = {"signature_def": signature_defs}
    return {"model_spec": spec, "metadata": {"signature_def": signature_def}}
