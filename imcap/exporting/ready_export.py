"""Ready models for what takes exported ones only: each is exported once, to a cache."""

from __future__ import annotations

import os

from absl import logging

import imcap
from imcap import filesystem, hashing
from imcap.errors import UserError
from imcap.exporting import DIGESTS, ready_model, version_folder
from imcap.serving import saved_model

_VERSION = "1"


def export_once(folder: str, weights: str = "") -> str:
    """Returns a folder with the export of a ready model, which is made at the first call.

    It is below `imcap/models` in $XDG_CACHE_HOME or `~/.cache`. Another release of imcap or other
    files of the model make another one.

    Args:
      folder: as `exporting.find_ready_model` returns it.
      weights: of the encoder; see `ready_model.load`.

    Raises:
      UserError: as `ready_model.load`, or the cache cannot be written.
    """
    ready_model.check_digests(folder)
    digests = filesystem.read_json(os.path.join(folder, DIGESTS))
    # With Keras' own weights captions may differ a little from those with the weights of training.
    key = hashing.digest_of([digests, imcap.__version__, bool(weights)])
    name = os.path.basename(os.path.abspath(folder))
    exported = os.path.join(filesystem.cache_folder("models"), f"{name}-{key[:16]}", name)
    target = os.path.join(exported, _VERSION)
    if not saved_model.is_saved_model(target):
        logging.info("exporting %s to %s, once", name, target)
        try:
            _export(folder, weights, target)
        except UserError:
            if not saved_model.is_saved_model(target):  # Else another process was faster.
                raise
    return exported


def _export(folder: str, weights: str, target: str) -> None:
    parts = ready_model.load_parts(folder, weights)
    with filesystem.writing_to(target), filesystem.replacing(target) as temporary:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        metadata = version_folder.describe(parts.info, parts.decode, parts.model.decoder)
        version_folder.fill(temporary, parts.model, metadata)
        version_folder.write_card(temporary, ready_model.read_card(folder))
