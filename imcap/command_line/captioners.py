"""The captioner that `imcap caption`'s flags ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from imcap.command_line import console
from imcap.errors import UserError

if TYPE_CHECKING:
    from imcap.serving.captioner import FunctionCaptioner


def load(model: Sequence[str], checkpoint: Sequence[str], weights: str) -> FunctionCaptioner:
    """Returns an exported model, a run's weights (with `checkpoint`), or a ready model.

    Args:
      model: the values of --model; without any, the ready model that imcap comes with is meant.
      checkpoint: the values of --checkpoint.
      weights: the value of --weights.

    Raises:
      UserError: there is no such model, or the flags do not go together.
    """
    folder, ready = find(model, checkpoint, weights)
    with console.quiet():
        import tensorflow  # noqa: F401
    if ready:
        with console.quiet():
            from imcap.exporting import ready_model

        return ready_model.load(ready, weights)
    if checkpoint:
        return _load_run(folder, checkpoint)
    from imcap.serving.captioner import Captioner

    return Captioner(folder)


def find(model: Sequence[str], checkpoint: Sequence[str], weights: str) -> tuple[str, str | None]:
    """Returns the folder that the flags name, and that of the ready model if it is one.

    Nothing is loaded; see `load` for the arguments.

    Raises:
      UserError: the flags do not go together.
    """
    from imcap import exporting

    folder = model[0] if model else exporting.DEFAULT_MODEL
    ready = None if checkpoint else exporting.find_ready_model(folder)
    if len(model) > 1 or not (model or ready):
        raise UserError("imcap caption needs one --model=DIR")
    if weights and not ready:
        raise UserError(f"--weights is for a ready model, which {folder} is not")
    return folder, ready


def find_exports(models: Mapping[str, str], weights: str) -> dict[str, str]:
    """Returns folders of exported models by name; ready models are exported to a cache.

    Args:
      models: folders, or names of ready models, by name.
      weights: the value of --weights.

    Raises:
      UserError: a ready model cannot be used, or --weights is given and none is one.
    """
    from imcap import exporting

    found = {name: exporting.find_ready_model(folder) for name, folder in models.items()}
    if weights and not any(found.values()):
        raise UserError("--weights is for a ready model, and no --model is one")
    return {
        name: _export_once(ready, weights) if (ready := found[name]) else folder
        for name, folder in models.items()
    }


def _export_once(ready: str, weights: str) -> str:
    with console.quiet():
        from imcap.exporting import ready_export

    return ready_export.export_once(ready, weights)


def _load_run(folder: str, checkpoint: Sequence[str]) -> FunctionCaptioner:
    with console.quiet():
        from imcap import export
    from imcap.serving.captioner import FunctionCaptioner

    run = export.load_run(folder, checkpoint)
    return FunctionCaptioner(folder, run.signatures(), run)
