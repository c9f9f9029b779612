"""Rates and memory beside a limit or a peer measured in the same run; `imcap bench` runs them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ml_collections import ConfigDict

from imcap.errors import UserError

if TYPE_CHECKING:
    from imcap.benchmarks.common import Row

NAMES = ("records", "scale", "input", "train", "decode", "caption", "notebook", "serve")


def measure(
    name: str,
    config: ConfigDict | None,
    *,
    image_dir: str = "",
    num_images: int = 3000,
    manifest_only: bool = False,
    repeats: int = 3,
    workdir: str = "",
    checkpoint: Sequence[str] = ("best",),
    models: Sequence[str] = (),
) -> list[Row]:
    """Runs a benchmark.

    Args:
      name: one of NAMES.
      config: `input`, `train` and `decode` with a workdir need it resolved and with finished
        records, `notebook` and `decode` without one not resolved; the others read only its
        `encoder.name` and `encoder.weights`, and `serve` needs none.
      image_dir: of these two, `caption`, `decode` and `serve`: a folder of images; empty, for
        `scale`: small images are drawn; for `decode`: it captions features only.
      num_images: of `records`, `scale`, `caption` and `decode`: images to encode or caption; of
        `notebook`: images of each split.
      manifest_only: of `scale`: nothing is encoded, and `num_images` are rows of a table.
      repeats: runs of each measurement; `scale` has one.
      workdir: of `decode`: the folder of a trained run; empty: random weights; of `caption`: that
        of a run with an export.
      checkpoint: of `decode`: which of the run's weights; see `imcap.decoding.members.find`.
      models: of `serve`: the folder of one exported model.

    Raises:
      UserError: an argument is missing or has a bad value, or a measurement cannot run.
    """
    from imcap.benchmarks import (
        captioning,
        decoding,
        image_bytes,
        input_reading,
        manifest_scale,
        notebook,
        records,
        scale,
        training,
    )
    from imcap.benchmarks import serving as serving_benchmark
    from imcap.serving import saved_model

    if name == "serve" or config is None:
        if len(models) != 1 or not image_dir:
            raise UserError("imcap bench serve needs one --model=DIR and --image_dir=DIR")
        return serving_benchmark.benchmark_serving(models[0], image_dir, repeats)
    if name == "input":
        return input_reading.benchmark_input(config, repeats)
    if name == "train":
        return training.benchmark_training(config, repeats)
    if name == "decode":
        if image_dir and not workdir:
            raise UserError("imcap bench decode with --image_dir needs --workdir=DIR")
        model = saved_model.find_model(workdir) if image_dir else ""
        rows = decoding.benchmark_decoding(config, repeats, workdir, checkpoint)
        if image_dir:
            rows += image_bytes.benchmark_image_bytes(
                config.encoder, model, image_dir, num_images, repeats
            )
        return rows
    if name == "notebook":
        if image_dir:
            raise UserError("imcap bench notebook takes --config.dataset.dir=DIR, not --image_dir")
        return notebook.benchmark_notebook(config, num_images, repeats)
    encoder = (config.encoder.name, config.encoder.weights)
    if name == "scale" and manifest_only:
        return manifest_scale.benchmark_manifest(num_images)
    if name == "scale":
        return scale.benchmark_scale(image_dir, *encoder, num_images)
    if not image_dir:
        raise UserError(f"imcap bench {name} needs --image_dir=DIR")
    if name == "caption":
        return captioning.benchmark_captioning(image_dir, workdir, *encoder, num_images, repeats)
    return records.benchmark_records(image_dir, *encoder, num_images, repeats)
