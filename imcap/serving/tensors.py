"""What a signature returns as Python values: one dictionary for each image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def unstack(outputs: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Turns named tensors of shape [batch, ...] into one dictionary of Python values per row."""
    columns = {name: _values(tensor.numpy()) for name, tensor in sorted(outputs.items())}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _values(array: Any) -> list[Any]:
    if array.dtype == object:
        return _decode(array.tolist())
    # Convert floats by way of text: the float32 nearest to 0.2 becomes 0.2, not 0.20000000298.
    return array.astype(str).astype(float).tolist() if array.dtype.kind == "f" else array.tolist()


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return [_decode(item) for item in value]
    return value.decode("utf-8", "replace")
