"""The job's figures as Beam metrics, which every runner shows."""

from __future__ import annotations

import apache_beam as beam
import landscapes
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.utils import shared

from beam_jobs import build_records, records_folder, records_pipeline
from imcap import datasets, encoders, records


def metrics(config) -> tuple[dict[str, int], dict[str, object]]:
    """Runs the job's pipeline; returns its counters and distributions by name."""
    encoder = encoders.build(config.encoder)
    settings = build_records.records_settings(config, encoder)
    records_folder.make_folders(config.records.dir)
    reader = datasets.build_reader(config.dataset)
    pipeline = beam.Pipeline(runner=FnApiRunner())
    records_pipeline.add_transforms(pipeline, config, settings, reader, encoder, shared.Shared())
    result = pipeline.run()
    result.wait_until_finish()
    query = result.metrics().query(beam.metrics.MetricsFilter().with_namespace("imcap"))
    return tuple(
        {found.key.metric.name: found.result for found in query[kind]}
        for kind in ("counters", "distributions")
    )


def test_counters_of_images_read_kept_failed_and_written(tmp_path):
    data = landscapes.write_images(tmp_path / "data")
    (data / "twin.jpg").write_bytes((data / "00.jpg").read_bytes())
    (data / "bad.jpg").write_text("no image")
    with open(data / "captions.csv", "a") as file:
        file.write('"twin.jpg","train","A twin"\n"bad.jpg","dev","A bad one"\n')
    config = landscapes.make_records_config(tmp_path, data)
    counters, distributions = metrics(config)
    info = records.read_info(config.records.dir)
    assert counters["images_read"] == 26
    assert counters["images_kept"] == info.counts["kept"] == 25
    assert counters["images_failed"] == info.counts["failed"] == 1
    assert counters["images_duplicate"] == info.counts["duplicate"] == 1
    assert counters["captions"] == info.counts["captions"] == 49
    size = sum(sum(split["shard_bytes"]) for split in info.splits.values())
    assert counters["bytes"] == size
    assert distributions["images_per_second"].count == sum(
        length > 0 for split in info.splits.values() for length in split["shard_lengths"]
    )
    again, _ = metrics(config)
    assert again["images_reused"] == 26
    assert "images_kept" not in again or again["images_kept"] == 0
