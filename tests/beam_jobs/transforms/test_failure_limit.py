"""Too many bad images stop the job."""

from __future__ import annotations

from pathlib import Path

import landscapes
import pytest

from beam_jobs import build_records
from beam_jobs.transforms import failure_limit
from imcap import records
from imcap.errors import UserError


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("", float("inf")), ("0", 0), ("7", 7), ("0.5", 100), ("1%", 2), ("100%", 200)],
)
def test_a_limit_is_a_number_or_a_share(limit, expected):
    assert failure_limit.allowed(limit, 200) == expected


@pytest.mark.parametrize("limit", ["many", "-1", "1.5", "200%", "%", "nan"])
def test_anything_else_is_refused(limit):
    with pytest.raises(UserError, match="max_failures"):
        failure_limit.allowed(limit, 200)


def _spoil(data: Path, count: int, start: int = 0) -> None:
    for number in range(start, start + count):
        (data / f"{number:02d}.jpg").write_bytes(b"this is text, whatever its name says")


def test_too_many_bad_images_stop_the_job_with_their_reasons(tmp_path):
    data = landscapes.write_images(tmp_path / "images")
    _spoil(data, 4)
    config = landscapes.make_records_config(tmp_path, data, records__max_failures="3")
    with pytest.raises(UserError, match=r"more than config\.records\.max_failures=3.*JPEG"):
        build_records.build_records(config)
    with pytest.raises(UserError, match="no finished records"):
        records.read_info(config.records.dir)


def test_as_many_as_allowed_are_counted_and_left_out(tmp_path):
    data = landscapes.write_images(tmp_path / "images")
    _spoil(data, 4)
    config = landscapes.make_records_config(tmp_path, data, records__max_failures="4")
    build_records.build_records(config)
    assert records.read_info(config.records.dir).counts["failed"] == 4


def test_a_bad_limit_stops_before_any_work(tmp_path):
    data = landscapes.write_images(tmp_path / "images")
    config = landscapes.make_records_config(tmp_path, data, records__max_failures="few")
    with pytest.raises(UserError, match="max_failures='few'"):
        build_records.build_records(config)
    assert not (tmp_path / "records").exists()


def _remove(data: Path, count: int) -> None:
    for number in range(count):
        (data / f"{number:02d}.jpg").unlink()


def test_missing_files_count_as_failed_images(tmp_path):
    data = landscapes.write_images(tmp_path / "images")
    _remove(data, 2)
    _spoil(data, 3, start=2)
    config = landscapes.make_records_config(tmp_path, data, records__max_failures="5")
    info = build_records.build_records(config)
    assert info.counts["failed"] == 5
    assert info.problems["missing images"]["count"] == 2
    config.records.max_failures = "4"
    with pytest.raises(UserError, match=r"5 of 24 images failed, .*max_failures=4"):
        build_records.build_records(config, overwrite=True)


def test_missing_files_stop_the_job_before_the_encoder(tmp_path):
    data = landscapes.write_images(tmp_path / "images")
    _remove(data, 3)
    config = landscapes.make_records_config(tmp_path, data, records__max_failures="10%")
    with pytest.raises(UserError) as raised:
        build_records.build_records(config)
    assert "3 of 24 images failed, more than config.records.max_failures=10%" in str(raised.value)
    assert "missing images, such as 00.jpg" in str(raised.value)
    assert not list(Path(config.records.dir).glob("*.tfrecord"))
