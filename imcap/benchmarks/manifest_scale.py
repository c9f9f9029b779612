"""`imcap bench scale --manifest_only`: what comes before the encoder, as the rows become more.

A Parquet table goes through manifest, vocabulary and the search for duplicates, as the records job
has them. A process for each size,

    python -m imcap.benchmarks.manifest_scale FOLDER COUNT

runs them on the table in FOLDER and prints the figures as JSON.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Mapping

from ml_collections import ConfigDict

from imcap import config as config_lib
from imcap import datasets, filesystem
from imcap.benchmarks import common, image_sets, scale

_MIN_ROWS = 100_000  # Fewer take less time than the start-up may vary.
# The worker is a process of its own, so that its memory is without the launcher's.
ONE_WORKER = ("--direct_running_mode=multi_processing", "--direct_num_workers=1")


def benchmark_manifest(num_rows: int) -> list[common.Row]:
    """Runs what comes before the encoder with a hundredth, a tenth and all of `num_rows`.

    Time is that of the processor, user and system, in all processes: it is also right where others
    use the machine. Memory is that of the worker process, as a cluster's host has it, and of the
    launcher, which on one machine holds the shuffles in memory.

    Raises:
      UserError: too few rows to compare.
    """
    counts, runs = scale.sizes(num_rows, _MIN_ROWS), {}
    for count in (scale.START_UP_IMAGES, *counts):
        with tempfile.TemporaryDirectory() as folder:
            image_sets.write_embedded_table(folder, count)
            runs[count] = common.run_module("imcap.benchmarks.manifest_scale", folder, str(count))
    start_up = runs.pop(scale.START_UP_IMAGES)["cpu_seconds"]
    return compare_tables(runs, start_up)


def compare_tables(runs: Mapping[int, Mapping[str, float]], start_up: float) -> list[common.Row]:
    """Returns the rows of the measured figures, each compared with the smallest run.

    Args:
      runs: number of rows -> figures of `measure_manifest`.
      start_up: seconds of processor time that do not count as time per row.
    """
    each = {n: 1e6 * (run["cpu_seconds"] - start_up) / n for n, run in runs.items()}
    worker = {n: run["worker_mb"] for n, run in runs.items()}
    smallest, largest = min(runs), max(runs)
    rows = [common.Row("manifest: start-up", start_up, "s of CPU")]
    for values, title, unit, at_most in (
        (each, "each", "us of CPU", scale.TIME_AT_MOST),
        (worker, "worker's memory", "MB", scale.MEMORY_AT_MOST),
    ):
        for count, value in values.items():
            ratio = None if count == smallest else value / values[smallest]
            limit = None if count == smallest else at_most
            name = f"manifest: {count:,} rows, {title}"
            rows.append(common.Row(name, value, unit, ratio, at_most=limit))
    for count, run in runs.items():
        rows.append(
            common.Row(f"manifest: {count:,} rows a second", count / run["total_seconds"], "rows/s")
        )
    grown = runs[largest]["launcher_mb"] - runs[smallest]["launcher_mb"]
    each_row = 1e6 * grown / (largest - smallest)
    rows.append(common.Row("manifest: launcher's memory for shuffles, each row", each_row, "B"))
    return rows


def measure_manifest(folder: str, count: int) -> dict[str, float]:
    """Measures the transforms before the encoder on the table in `folder`, with one worker."""
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    from beam_jobs import records_folder, records_pipeline
    from beam_jobs.transforms import manifest

    config = _manifest_config(folder, count)
    records_folder.make_folders(config.records.dir)
    found, began = os.path.join(folder, "found.json"), time.monotonic()
    options = PipelineOptions(ONE_WORKER, pickle_library="cloudpickle")
    pipeline = beam.Pipeline(runner=FnApiRunner(), options=options)
    reader = datasets.build_reader(config.dataset)
    work = records_pipeline.add_manifest(pipeline, config, reader)
    sizes = work.shards | "Rows" >> beam.Map(lambda shard: len(manifest.rows_of(shard[1])))
    _ = (
        pipeline
        | "End" >> beam.Create([None])
        | "Write"
        >> beam.Map(
            _write_figures,
            found,
            beam.pvalue.AsSingleton(sizes | "Sum" >> beam.CombineGlobally(sum)),
            beam.pvalue.AsSingleton(work.vocabulary),
            beam.pvalue.AsSingleton(work.equal_images),
        )
    )
    pipeline.run().wait_until_finish()
    seconds, figures = time.monotonic() - began, filesystem.read_json(found) or {}
    if figures["rows"] != count or figures["equal"] != count // 100:
        raise RuntimeError(f"{count} rows gave {figures}")
    return {
        "total_seconds": seconds,
        "cpu_seconds": figures["worker_seconds"] + _cpu_seconds(),
        "worker_mb": figures["worker_mb"],
        "launcher_mb": common.peak_memory_mb(),
    }


def _manifest_config(folder: str, count: int) -> ConfigDict:
    config = config_lib.default()
    config.dataset.name, config.dataset.dir, config.dataset.columns.id = "table", folder, "key"
    config.records.dir = os.path.join(folder, "records")
    config.records.num_shards = max(16, count // 5_000)
    return config


def _write_figures(
    _: None, path: str, rows: int, vocabulary: list[str], equal_images: tuple[int, int, str]
) -> None:
    """Writes what the worker has found, its memory and its time, as its last step."""
    figures = {
        "rows": rows + equal_images[1],
        "equal": equal_images[0],
        "words": len(vocabulary),
        "worker_mb": common.peak_memory_mb(),
        "worker_seconds": _cpu_seconds(),
    }
    filesystem.write_json(path, figures)


def _cpu_seconds() -> float:
    return sum(resource.getrusage(resource.RUSAGE_SELF)[:2])


if __name__ == "__main__":
    print(json.dumps(measure_manifest(sys.argv[1], int(sys.argv[2]))))
