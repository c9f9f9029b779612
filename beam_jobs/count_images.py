"""How many images a data set has, counted by many workers where one process would take too much."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence

import apache_beam as beam
from absl import logging
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions
from ml_collections import ConfigDict

from beam_jobs import records_folder
from beam_jobs.runners import flink, job_errors, runner_options
from beam_jobs.transforms.read_parts import ReadParts
from imcap import datasets, filesystem
from imcap.datasets.parted import PartedReader

# Text that this process reads: about 100 MB of memory, and less time than a cluster's job takes.
FEW_BYTES = 32_000_000
_COUNTS = "progress/counts.json"


def is_large(reader: datasets.Reader) -> bool:
    """Tells whether a data set is counted by workers."""
    return isinstance(reader, PartedReader) and reader.size() > FEW_BYTES


def count_images(
    reader: datasets.Reader,
    dataset: ConfigDict,
    limit: int = 0,
    folder: str = "",
    beam_args: Sequence[str] = (),
) -> dict[str, int]:
    """Returns the images by split, at most `limit` of each (0: all); reads no image.

    Args:
      reader: of `dataset`.
      dataset: a config's `dataset` part.
      limit: images of each split.
      folder: the records folder, where workers on other hosts leave the counts for a moment.
      beam_args: Beam's own options, which name the runner.

    Raises:
      UserError: the data set cannot be read, or the runner cannot be used.
    """
    if isinstance(reader, PartedReader) and is_large(reader):
        found = _count_in_workers(reader, dataset, folder, beam_args)
    else:
        found = reader.count()
    return {split: min(count, limit or count) for split, count in found.items()}


def _count_in_workers(
    reader: PartedReader, dataset: ConfigDict, folder: str, beam_args: Sequence[str]
) -> dict[str, int]:
    options = PipelineOptions(flink.complete_options(beam_args), pickle_library="cloudpickle")
    FileSystems.set_options(options)
    logging.info("%s: counting the images", reader.name)
    with (
        _shared_file("" if runner_options.is_local(options) else folder) as path,
        job_errors.raised_in_one_line(flink.cluster_address(options)),
    ):
        pipeline = beam.Pipeline(runner=runner_options.create_runner(options), options=options)
        read = pipeline | beam.Create([None]) | ReadParts(dataset.to_dict(), reader)
        _ = (
            read["rows"]
            | "Split" >> beam.Map(lambda row: row.split)
            | "Count" >> beam.combiners.Count.PerElement()
            | "Collect" >> beam.combiners.ToDict()
            | "Write" >> beam.Map(lambda counts, path: filesystem.write_json(path, counts), path)
        )
        pipeline.run().wait_until_finish()
        return filesystem.read_json(path) or {}


@contextlib.contextmanager
def _shared_file(folder: str) -> Iterator[str]:
    """Gives a path that all workers see, and leaves nothing there.

    `folder`: the records folder; empty: the workers are here.
    """
    if not folder:
        with tempfile.TemporaryDirectory() as temporary:
            yield os.path.join(temporary, "counts.json")
        return
    records_folder.make_folders(folder)
    try:
        yield FileSystems.join(folder, *_COUNTS.split("/"))
    finally:
        records_folder.remove(folder, _COUNTS)
        records_folder.remove_empty_folders(folder)
