"""Images counted by workers are those that one process counts."""

from __future__ import annotations

import landscapes
import outputs
import pytest
from refusals import refusal

from beam_jobs import build_records, count_images, estimate
from imcap import datasets

ELSEWHERE = "--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner"


@pytest.mark.parametrize("beam_args", [[], [ELSEWHERE]])
@pytest.mark.parametrize("limit", [0, 5])
def test_workers_count_what_one_process_counts(image_set, tmp_path, monkeypatch, beam_args, limit):
    config = landscapes.make_records_config(tmp_path, image_set)
    reader, folder = datasets.build_reader(config.dataset), config.records.dir
    expected = count_images.count_images(reader, config.dataset, limit)
    monkeypatch.setattr(count_images, "FEW_BYTES", 0)
    monkeypatch.setattr(type(reader), "count", None)  # Reads all in this process.
    found = count_images.count_images(reader, config.dataset, limit, folder, beam_args)
    assert found == expected
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_of_a_large_table_counts_in_workers(image_set, tmp_path, monkeypatch):
    config = landscapes.make_records_config(tmp_path, image_set)
    before = outputs.contents(image_set)
    lines = build_records.dry_run(config)
    monkeypatch.setattr(count_images, "FEW_BYTES", 0)
    monkeypatch.setattr(estimate, "_scan", None)
    found = build_records.dry_run(config)
    assert found[:-1] == lines[:-1]  # The last one is the time that it will take.
    assert outputs.contents(image_set) == before
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_refused(image_set, tmp_path, monkeypatch):
    config = landscapes.make_records_config(tmp_path, image_set)
    (tmp_path / "file").touch()
    config.records.dir = str(tmp_path / "file" / "records")
    monkeypatch.setattr(count_images, "FEW_BYTES", 0)
    message = refusal(build_records.dry_run, config, [ELSEWHERE])
    assert message.startswith(f"config.records.dir={config.records.dir} cannot be written: ")
