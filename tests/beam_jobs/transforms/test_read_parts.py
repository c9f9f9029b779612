"""Parts read and grouped by Beam give what the reader in one process gives."""

from __future__ import annotations

import csv
import json
import random

import apache_beam as beam
import embedded_files
import landscapes
import memory_files
import pyarrow
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to
from embedded_files import Sample
from pyarrow import parquet

from beam_jobs import build_records
from beam_jobs.transforms import duplicates, manifest, read_parts
from imcap import datasets, filesystem, records
from imcap.datasets import table_files

IMAGES = tuple(f"{number:02d}.jpg" for number in range(40))


def rows() -> list[dict[str, str]]:
    """120 rows: the captions of an image stand far apart, some rows are of no use."""
    found = [
        {"image": name, "caption": f"{name}, “said” number {turn}", "split": "train"}
        for turn in range(3)
        for name in IMAGES
    ]
    found[5]["image"] = ""
    found[50]["split"] = "dev"
    found[77]["caption"] = " "
    found[100]["image"] = "gone.jpg"
    return found


def write(folder, suffix: str) -> None:
    """Writes the rows to two files of a kind."""
    for name in IMAGES:
        (folder / name).write_bytes(b"image")
    for index, part in enumerate((rows()[:70], rows()[70:])):
        path = folder / f"part-{index}{suffix}"
        if suffix == ".parquet":
            parquet.write_table(pyarrow.Table.from_pylist(part), path, row_group_size=9)
        elif suffix == ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in part))
        else:
            sign = "\t" if suffix == ".tsv" else ","
            quote = (lambda text: text) if suffix == ".tsv" else (lambda text: f'"{text}"')
            lines = [sign.join(map(quote, row.values())) for row in part]
            path.write_text("\n".join([sign.join(part[0]), *lines]) + "\n")


@pytest.mark.parametrize(
    ("suffix", "excluded"), [(".csv", 0), (".tsv", 0), (".jsonl", 7), (".parquet", 0)]
)
def test_parts_read_by_many_give_what_one_process_reads(tmp_path, monkeypatch, suffix, excluded):
    monkeypatch.setattr(table_files, "PART_BYTES", 500)
    write(tmp_path, suffix)
    (tmp_path / "list.txt").write_text("".join(f"{name}\n" for name in IMAGES[:excluded]))
    config = {
        "name": "table",
        "dir": str(tmp_path),
        "captions": f"part-*{suffix}",
        "columns": {"split": "split"},
        "exclude": str(tmp_path / "list.txt") if excluded else "",
    }
    problems = datasets.Problems()
    reader = datasets.build_reader(config)
    expected = sorted(reader.read(problems), key=lambda row: row.image_id)
    assert len(expected) == 40 - excluded
    assert problems.counts.get("images excluded by list.txt", 0) == excluded
    assert len(problems.counts) == 4 + bool(excluded)

    def check_rows(found) -> None:
        assert sorted(found, key=lambda row: row.image_id) == expected

    def check_problems(found) -> None:
        counts = dict.fromkeys(problems.counts, 0)
        for kind, count, _ in found:
            counts[kind] += count
        assert counts == problems.counts

    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        read = pipeline | beam.Create([None]) | read_parts.ReadParts(config, reader)
        assert_that(read["rows"], check_rows, label="rows")
        assert_that(read["problems"], check_problems, label="problems")


@pytest.mark.parametrize("kind", ["webdataset", "stored", "compressed"])
def test_the_digests_of_images_within_files_take_one_pass_over_each_file(
    tmp_path, bucket, monkeypatch, kind
):
    rng = random.Random(0)
    samples = [Sample(name, rng.randbytes(8_000)) for name in IMAGES]
    if kind == "webdataset":
        embedded_files.write_webdataset(tmp_path / "0.tar", samples)
    else:
        options = {"compression": "none", "use_dictionary": False} if kind == "stored" else {}
        embedded_files.write_hugging_face(
            tmp_path / "0.parquet", samples, row_group_size=40, **options
        )
    memory_files.upload(tmp_path, "memory://data/set")
    name = "webdataset" if kind == "webdataset" else "table"
    config = {"name": name, "dir": "memory://data/set"}
    reader = datasets.build_reader(config)
    fetched = memory_files.meter(monkeypatch, 8_192)
    size = sum(map(len, bucket.values()))

    def check(rows) -> None:
        assert len(rows) == 40
        for row in rows:
            content = filesystem.read_image(row.path)
            assert row.digest == duplicates.digest_of(lambda _, c=content: c, "")

    def read(digest: bool) -> int:
        fetched.clear()
        with beam.Pipeline(runner=FnApiRunner()) as pipeline:
            parts = read_parts.ReadParts(config, reader, digest=digest)
            _ = pipeline | beam.Create([None]) | parts
        return sum(fetched)

    without = read(digest=False)
    # Arrow reads 64 kB for a footer.
    assert 0 < read(digest=True) - without < size + 2 * 8_192 + 65_536
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        parts = read_parts.ReadParts(config, reader, digest=True)
        assert_that((pipeline | beam.Create([None]) | parts)["rows"], check)


def test_excluded_images_within_files_are_not_read(tmp_path, monkeypatch):
    samples = [Sample(name, name.encode()) for name in IMAGES[:4]]
    embedded_files.write_webdataset(tmp_path / "0.tar", samples)
    (tmp_path / "list.txt").write_text(f"{IMAGES[1]}\n")
    exclude = str(tmp_path / "list.txt")
    config = {"name": "webdataset", "dir": str(tmp_path), "exclude": exclude}
    reader = datasets.build_reader(config)
    read, places = filesystem.InSequence.read, []

    def noted(self, place: str) -> bytes:
        places.append(place)
        return read(self, place)

    monkeypatch.setattr(filesystem.InSequence, "read", noted)
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        _ = pipeline | beam.Create([None]) | read_parts.ReadParts(config, reader, digest=True)
    assert len(places) == 3


def test_a_limit_takes_the_first_images_of_each_split_in_the_source(tmp_path, monkeypatch):
    monkeypatch.setattr(table_files, "PART_BYTES", 500)
    monkeypatch.setattr(read_parts, "_GROUP_BYTES", 1_000)
    write(tmp_path, ".jsonl")
    (tmp_path / "list.txt").write_text(f"{IMAGES[1]}\n")
    config = {
        "name": "table",
        "dir": str(tmp_path),
        "captions": "part-*.jsonl",
        "columns": {"split": "split"},
        "exclude": str(tmp_path / "list.txt"),
    }
    reader = datasets.build_reader(config)
    expected = list(manifest.limited(reader.read(datasets.Problems()), 5))
    assert [row.image_id for row in expected] == [IMAGES[n] for n in (0, 2, 3, 4, 6)]
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        read = pipeline | beam.Create([None]) | read_parts.ReadParts(config, reader, limit=5)
        assert_that(read["rows"], equal_to(expected))


@pytest.mark.parametrize("suffix", [".jsonl", ".tsv"])
def test_problems_of_a_part_in_the_middle_have_line_numbers(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(table_files, "PART_BYTES", 400)
    data = landscapes.write_images(tmp_path / "data")
    with open(data / "captions.csv", newline="") as file:
        lines = [json.dumps(row) for row in csv.DictReader(file)]
    if suffix == ".tsv":
        rows = [json.loads(line).values() for line in lines]
        lines = ["\t".join(json.loads(lines[0])), *("\t".join(row) for row in rows)]
    lines[30:30] = ["", "not a row"]
    lines.append(lines[-1].replace("23.jpg", "gone.jpg"))
    path = data / f"captions{suffix}"
    path.write_text("\n".join(lines) + "\n")
    config = landscapes.make_records_config(tmp_path, data, dataset__captions=path.name)
    build_records.build_records(config)
    problems = records.read_info(config.records.dir).problems
    assert {problem["first"].rpartition(", ")[2] for problem in problems.values()} == {
        "line 32",
        f"line {len(lines)}",
    }
