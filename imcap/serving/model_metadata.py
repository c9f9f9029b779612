"""What an exported version says of itself beside its graph, and which model it is."""

from __future__ import annotations

import hashlib
import os
from typing import Any

from imcap import filesystem
from imcap.errors import UserError, one_line

PATH = "assets.extra/imcap.json"  # Below an exported version's folder.
_MODEL_FILES = ("saved_model.pb", "variables", "assets")
_BLOCK = 1 << 20  # Bytes read at a time.


def read(version_dir: str) -> dict[str, Any]:
    """Returns what `imcap export` wrote: vocabulary, preprocessing, encoder and search.

    Raises:
      UserError: the file is missing or no JSON.
    """
    path = os.path.join(version_dir, PATH)
    found = filesystem.read_json(path)
    if not isinstance(found, dict) or "preprocessing" not in found:
        raise UserError(f"{path} is missing or corrupted: export the model again")
    return found


def digest(version_dir: str) -> str:
    """Returns a hash of the graph, the weights and the assets of an exported version.

    Raises:
      UserError: one of them cannot be read.
    """
    found = hashlib.blake2b(digest_size=16)
    try:
        for path in _files(version_dir):
            found.update(os.path.relpath(path, version_dir).encode() + b"\0")
            with open(path, "rb") as file:
                while block := file.read(_BLOCK):
                    found.update(block)
    except OSError as error:
        raise UserError(f"{version_dir}: cannot be read: {one_line(error)}") from error
    return found.hexdigest()


def _files(version_dir: str) -> list[str]:
    tops = [os.path.join(version_dir, name) for name in _MODEL_FILES]
    below = [os.path.join(d, n) for top in tops for d, _, names in os.walk(top) for n in names]
    return sorted([*below, tops[0]])
