"""What `imcap caption` does: a few images at once, or a job that can be continued."""

from __future__ import annotations

import os
from collections.abc import Sequence

from imcap import exporting, runtime
from imcap.command_line import captioners, console
from imcap.command_line.command_flags import Parsed
from imcap.errors import UserError

_OUT = "captions.jsonl"  # In the images' folder, where only sidecars are asked for.


def split_arguments(rest: Sequence[str]) -> tuple[list[str], list[str]]:
    """Returns the images and the options among the arguments that are not imcap's flags."""
    options = [argument for argument in rest if argument.startswith("-")]
    images = [argument for argument in rest if not argument.startswith("-")]
    if not images:
        raise UserError("imcap caption needs at least one file, folder or glob")
    return images, options


def run_job(parsed: Parsed, images: Sequence[str], beam_args: Sequence[str]) -> tuple[str, int]:
    """Captions images into a file, and with `--sidecar` into text files beside them.

    Returns:
      What to print, and how many images failed.

    Raises:
      UserError: as `caption_images` does, or a flag does not fit.
      KeyboardInterrupt: with an argument, as the same command continues.
    """
    values = parsed.values
    if values.checkpoint or len(values.model) > 1:
        raise UserError("--out and --sidecar take one model, exported or ready: --model=DIR")
    out = values.out or _default_out(images)
    model = values.model[0] if values.model else exporting.DEFAULT_MODEL
    runtime.share_one_heap()
    runtime.assume_frozen_weights()
    model = captioners.find_exports({model: model}, values.weights)[model]  # May run TensorFlow.
    with console.quiet():
        from beam_jobs import caption_images
    try:
        summary = caption_images.caption_images(
            images, model, out, beam_args,
            top=values.top, sidecar=values.sidecar, overwrite=values.overwrite,
            part_size=values.part_size,
        )  # fmt: skip
    except KeyboardInterrupt:
        raise KeyboardInterrupt("continues") from None
    return "\n".join(caption_images.summarize(out, summary)), summary.failed


def _default_out(images: Sequence[str]) -> str:
    if len(images) == 1 and os.path.isdir(images[0]):
        return os.path.join(images[0], _OUT)
    raise UserError("--sidecar of more than one folder needs --out=FILE.jsonl beside it")
