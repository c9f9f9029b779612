"""The captioning job: image files to one file of captions, in the order of their listing.

A part of the listing is the unit of work, retry and resume: one worker captions it from end to end
with the same batches each time. So memory stays bounded, a job that was killed does only what is
missing, and the bytes are the same on every runner with any number of workers.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.utils import shared

from beam_jobs import captions_folder, heartbeats, progress_bar
from beam_jobs.captions_folder import Settings, Summary
from beam_jobs.runners import flink, job_errors, runner_options
from beam_jobs.transforms.caption_graph import CaptionGraph
from beam_jobs.transforms.caption_parts import CaptionParts, PartSettings
from beam_jobs.transforms.list_images import ListImages
from imcap import filesystem, hashing
from imcap.errors import UserError
from imcap.serving import caption_files, caption_formats, model_metadata, saved_model

PART_SIZE = 512


def caption_images(
    paths: Sequence[str],
    model: str,
    out: str,
    beam_args: Sequence[str] = (),
    *,
    top: int = 1,
    sidecar: bool = False,
    overwrite: bool = False,
    part_size: int = PART_SIZE,
) -> Summary:
    """Captions image files into a file, or completes what a job before has begun.

    Args:
      paths: files, folders and globs, local or remote; see `caption_files.find_images`.
      model: the folder of an exported model, or of its run.
      out: the file for the captions, .jsonl or .csv. The images without captions are listed in
        `captions_folder.failures_path(out)`.
      beam_args: Beam's own options, such as `--runner=FlinkRunner`.
      top: captions per image.
      sidecar: also write each image's captions to a text file beside it.
      overwrite: start over, and replace text files that say something else.
      part_size: images in a part.

    Returns:
      How many images were captioned, and why others were not.

    Raises:
      UserError: no image is found, the model cannot be used, `out` cannot be written or holds
        something else, or a job with other settings has begun it.
    """
    form = caption_formats.format_of(out)
    if part_size < 1:
        raise UserError(f"--part_size={part_size}: must be at least 1")
    options = PipelineOptions(flink.complete_options(beam_args), pickle_library="cloudpickle")
    FileSystems.set_options(options)
    runner = runner_options.create_runner(options)
    version_dir = saved_model.find_model(model)
    caption_files.check_top(top, _beam_size(version_dir) or top)
    if not runner_options.is_local(options):
        version_dir, out, *paths = map(_absolute, (version_dir, out, *paths))
    num_images = sum(1 for _ in caption_files.find_images(paths))
    settings = caption_settings(
        version_dir, {"format": form, "top": top, "sidecar": sidecar, "part_size": part_size}
    )
    captions_folder.check(out, settings, overwrite=overwrite)
    folder = captions_folder.parts_folder(out)
    part_settings = PartSettings(
        folder, version_dir, form, top, sidecar, overwrite, hashing.digest_of(settings)
    )
    shared_graph = shared.Shared()
    # Refuses a model that cannot be used; workers that are threads of this process find it.
    graph = shared_graph.acquire(lambda: CaptionGraph(version_dir), part_settings.fingerprint)
    captions_folder.prepare(out, settings, overwrite=overwrite)
    heartbeats.write_totals(folder, {"images": num_images}, missing=0)
    pipeline = beam.Pipeline(runner=runner, options=options)
    listing = ListImages(paths, part_size)
    _add_transforms(pipeline, listing, part_settings, shared_graph, out)
    with (
        job_errors.raised_in_one_line(flink.cluster_address(options)),
        progress_bar.ProgressBar(
            folder, local=not filesystem.is_remote(folder), description="captions",
            check_splits=None,
        ),
    ):  # fmt: skip
        pipeline.run().wait_until_finish()
    del graph  # The last strong reference: `shared_graph` holds a weak one.
    return captions_folder.read_summary(out)


def _absolute(path: str) -> str:
    """Returns a path that holds for workers that start in other folders."""
    return path if filesystem.is_remote(path) else os.path.abspath(path)


def _beam_size(version_dir: str) -> int:
    """Returns how many captions a model gives each image; 0 if its signature does not say."""
    outputs = saved_model.read_signature_defs(version_dir)[saved_model.DEFAULT_SIGNATURE]["outputs"]
    sizes = [int(dim["size"]) for dim in outputs["captions"]["tensor_shape"]["dim"]]
    return max(sizes[-1], 0) if len(sizes) == 2 else 0


def caption_settings(version_dir: str, output: dict[str, Any]) -> Settings:
    """Returns what determines the output: parts made with other settings do not mix.

    Args:
      version_dir: the folder of an exported version.
      output: `format`, `top`, `sidecar` and `part_size`.
    """
    metadata = model_metadata.read(version_dir)
    return {
        "decode": metadata.get("decode", {}),
        "preprocessing": metadata["preprocessing"],
        "model": {"digest": model_metadata.digest(version_dir)},
        "output": output,
    }


def _add_transforms(
    pipeline: beam.Pipeline,
    listing: ListImages,
    settings: PartSettings,
    shared_graph: shared.Shared,
    out: str,
) -> None:
    numbers = (
        pipeline
        | "Start" >> beam.Create([None])
        | "ListImages" >> listing
        | "CaptionParts" >> beam.ParDo(CaptionParts(settings, shared_graph))
    )
    count = numbers | "CountParts" >> beam.combiners.Count.Globally()
    _ = (
        pipeline
        | "End" >> beam.Create([out])
        | "Finish"
        >> beam.Map(
            captions_folder.finish, beam.pvalue.AsSingleton(count), settings.form, settings.top
        )
    )


def summarize(out: str, summary: Summary) -> list[str]:
    """Returns lines that say how many images were captioned, and why others were not."""
    lines = [f"{out}: {summary.captioned:,} images captioned, {summary.failed:,} failed"]
    if summary.failed:
        lines.append(f"{captions_folder.failures_path(out)}: the failed images with their reasons")
    return lines + [f"{count:,} failed: {reason}" for reason, count in summary.reasons.items()]
