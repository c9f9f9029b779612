"""Exported SavedModels on disk: which folder is meant, its name, its signatures, and loading it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from imcap.errors import UserError, first_line

DEFAULT_SIGNATURE = "serving_default"
SCORE_SIGNATURE = "score"
# Exports of imcap 0.1.0 lack these two.
ATTENTION_SIGNATURE = "attention"  # Of decoders that have attention.
BEAM_SIGNATURE = "beam_search"
# Signature -> (inputs, outputs) that every exported captioner has. Exports of imcap 0.1.0 lack
# the output `ranks`, so it is not required.
SIGNATURES = {
    DEFAULT_SIGNATURE: ({"image_bytes"}, {"caption", "score", "captions", "scores"}),
    SCORE_SIGNATURE: ({"image_bytes", "caption"}, {"score"}),
}


def find_model(folder: str) -> str:
    """Returns the SavedModel folder that `folder` stands for: its newest version.

    Raises:
      UserError: as `find_versions`.
    """
    versions = find_versions(folder)
    return versions[max(versions)]


def find_versions(folder: str) -> dict[int, str]:
    """Returns the SavedModel folders that `folder` stands for, by version.

    That is `folder` itself, its numbered versions, or the numbered versions in its `export`
    folder. Versions without a `saved_model.pb` (still being written) are skipped.

    Raises:
      UserError: no model is found.
    """
    if is_saved_model(folder):
        return {version(folder): folder}
    for parent in (folder, os.path.join(folder, "export")):
        names = os.listdir(parent) if os.path.isdir(parent) else []
        paths = {int(name): os.path.join(parent, name) for name in names if _is_number(name)}
        if versions := {number: path for number, path in paths.items() if is_saved_model(path)}:
            return versions
    problem = "no exported model in it" if os.path.isdir(folder) else "no such folder"
    command = "imcap export --workdir=DIR"
    raise UserError(f"{folder}: {problem} (to make one: {command}, then give DIR or DIR/export)")


def version(path: str) -> int:
    """Returns the version of the SavedModel in folder `path`: the folder's name, 1 if no number."""
    name = os.path.basename(os.path.abspath(path))
    return int(name) if _is_number(name) else 1


def models_by_name(values: Sequence[str]) -> dict[str, str]:
    """Returns folders by model names from the values of `--model`: DIR or NAME=DIR.

    The name of DIR is its base name, without what `imcap export` adds (`export`, the version).

    Raises:
      UserError: a name is empty or given twice.
    """
    models: dict[str, str] = {}
    for value in values:
        name, equals, folder = value.partition("=")
        if not equals or "/" in name or os.path.isdir(value):
            name, folder = _model_name(value), value
        if not name or not folder:
            raise UserError(f"--model={value}: must be DIR or NAME=DIR")
        if name in models:
            raise UserError(f"--model={value}: {name} is {models[name]} already; give NAME=DIR")
        models[name] = folder
    return models


def _model_name(folder: str) -> str:
    parts = os.path.abspath(folder).split(os.sep)
    is_run = os.path.isdir(os.path.join(folder, "export"))
    if _is_number(parts[-1]) and not is_run:
        parts.pop()
    if parts[-1] == "export":
        parts.pop()
    return parts[-1]


def is_saved_model(folder: str) -> bool:
    """Tells whether a folder holds a SavedModel."""
    return os.path.isfile(os.path.join(folder, "saved_model.pb"))


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit()


def read_signature_defs(path: str) -> dict[str, dict[str, Any]]:
    """Returns the signatures of the SavedModel in folder `path`, without loading the model.

    Returns:
      The JSON form of each `SignatureDef`, by signature name.

    Raises:
      UserError: `saved_model.pb` cannot be read, or lacks one of `SIGNATURES`.
    """
    from google.protobuf import json_format

    graphs = _read_graphs(path)
    options = {"preserving_proto_field_name": True, "always_print_fields_with_no_presence": True}
    defs = graphs[0].signature_def if graphs else {}
    found = {name: json_format.MessageToDict(defs[name], **options) for name in sorted(defs)}
    _check_signatures(path, found)
    return found


def _read_graphs(path: str) -> list[Any]:
    """Returns the `MetaGraphDef`s for serving of a SavedModel."""
    from google.protobuf import message
    from tensorflow.core.protobuf import saved_model_pb2

    proto = saved_model_pb2.SavedModel()
    try:
        with open(os.path.join(path, "saved_model.pb"), "rb") as file:
            proto.ParseFromString(file.read())
    except (OSError, message.DecodeError) as error:
        raise UserError(f"{path}/saved_model.pb: cannot be read: {error}") from error
    return [graph for graph in proto.meta_graphs if "serve" in graph.meta_info_def.tags]


def _check_signatures(path: str, signature_defs: Mapping[str, Mapping[str, Any]]) -> None:
    for name, (inputs, outputs) in SIGNATURES.items():
        found = signature_defs.get(name, {"inputs": {}, "outputs": {}})
        if set(found["inputs"]) != inputs or not outputs <= set(found["outputs"]):
            expected = f"{', '.join(sorted(inputs))} -> {', '.join(sorted(outputs))}"
            raise UserError(
                f"{path}: not a captioner that `imcap export` wrote: its signature {name!r} "
                f"should be {expected}"
            )


def load(path: str) -> Any:
    """Loads the SavedModel in folder `path`.

    Raises:
      UserError: it cannot be loaded.
    """
    import tensorflow as tf

    if _standardizes_with_other_ops(path):
        import tensorflow_text  # noqa: F401  Registers them.
    try:
        return tf.saved_model.load(path)
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise UserError(
            f"{path}: cannot be loaded: {first_line(error)}; export it again"
        ) from error


def _standardizes_with_other_ops(path: str) -> bool:
    """Tells whether the model was exported before imcap standardized captions with TensorFlow's own
    ops; without them tensorflow-text need not be imported."""
    ops = {
        op.name for graph in _read_graphs(path) for op in graph.meta_info_def.stripped_op_list.op
    }
    return not ops.isdisjoint(("NormalizeUTF8", "CaseFoldUTF8"))
