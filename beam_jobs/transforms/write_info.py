"""What describes a finished records folder: info.json, vocab.txt, failures.jsonl, COMPLETED."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from apache_beam.io.filesystems import FileSystems

from beam_jobs import records_folder
from beam_jobs.shard_reports import Report
from beam_jobs.transforms import duplicates
from imcap import datasets, filesystem, hashing, records
from imcap.datasets.base import MISSING_IMAGES
from imcap.datasets.parted import PartedReader

_PACKAGES = ("apache-beam", "keras", "numpy", "tensorflow", "tensorflow-text")


@dataclasses.dataclass(frozen=True)
class InfoSettings:
    """What info.json tells that is known before the job runs; see `records.Info`.

    Attributes:
      folder: the records folder.
      num_shards: of each split.
      views: what is encoded of each image.
      max_length: words kept of a caption.
      settings: of the folder, see `build_records.records_settings`.
      dataset: a config's `dataset` part.
    """

    folder: str
    num_shards: int
    views: records.Views
    max_length: int
    feature_shape: tuple[int, int]
    feature_grid: tuple[int, int]
    feature_dtype: str
    compression: str
    settings: Mapping[str, Mapping[str, Any]]
    dataset: Mapping[str, Any]


def write_info(
    _: None,
    reports: Iterable[Report],
    problems: Iterable[tuple[str, int, str]],
    vocabulary: list[str],
    equal_images: duplicates.Summary,
    settings: InfoSettings,
) -> None:
    """Writes what describes the whole folder, the file COMPLETED last.

    Args:
      reports: of all shards.
      problems: of all readers: (kind, count, place of the first).
      vocabulary: the lines of vocab.txt.
      equal_images: what is told of images whose files hold the same bytes.
      settings: what was known before the job.
    """
    folder = settings.folder
    reports = sorted(reports, key=lambda report: (report.split, report.shard))
    names = [records.shard_name(r.split, r.shard, settings.num_shards) for r in reports]
    records_folder.remove_stale_shards(folder, names)
    records_folder.remove_unpacked_images(folder)
    merged = _with_line_numbers(_merge(problems), settings.dataset)
    problems_found = merged | _leak_problem(equal_images)
    info = _info(reports, problems_found, vocabulary, equal_images.duplicates, settings)
    failures = [json.dumps(f, sort_keys=True) + "\n" for r in reports for f in r.failures]
    _write(folder, records.VOCABULARY, "\n".join(vocabulary) + "\n")
    _write(folder, records.FAILURES, "".join(failures))
    _write(folder, records.INFO, records.format_info(info))
    for name, content in records.format_tfds_files(info).items():
        _write(folder, name, content)
    _write(folder, records.COMPLETED, "")


def _write(folder: str, name: str, content: str) -> None:
    filesystem.write_text(FileSystems.join(folder, name), content)


def _merge(problems: Iterable[tuple[str, int, str]]) -> dict[str, dict[str, Any]]:
    """Sums up the problems of all workers by kind; `first` is the least of their places."""
    merged: dict[str, dict[str, Any]] = {}
    for kind, count, where in sorted(problems, key=lambda problem: (problem[0], problem[2])):
        merged.setdefault(kind, {"count": 0, "first": where})["count"] += count
    return merged


def _with_line_numbers(
    problems: dict[str, dict[str, Any]], dataset: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Gives the places line numbers, which the readers of a file's inner parts do not know."""
    reader = datasets.build_reader(dataset) if problems else None
    if isinstance(reader, PartedReader):
        for problem in problems.values():
            problem["first"] = reader.with_line_number(problem["first"])
    return problems


def _leak_problem(equal_images: duplicates.Summary) -> dict[str, dict[str, Any]]:
    count, first = equal_images.leaks, equal_images.first_leak
    kind = "images left out because another split holds the same one"
    return {kind: {"count": count, "first": first}} if count else {}


def _info(
    reports: Sequence[Report],
    problems: dict[str, dict[str, Any]],
    vocabulary: list[str],
    num_duplicates: int,
    settings: InfoSettings,
) -> records.Info:
    missing = problems.get(MISSING_IMAGES, {"count": 0})["count"]
    return records.Info(
        schema_version=records.SCHEMA_VERSION,
        splits=_splits(reports, settings),
        feature_shape=settings.feature_shape,
        feature_grid=settings.feature_grid,
        feature_dtype=settings.feature_dtype,
        compression=settings.compression,
        encoder=dict(settings.settings["encoder"]),
        preprocessing=dict(settings.settings["preprocessing"]),
        text={"max_length": settings.max_length, "vocabulary_size": len(vocabulary) + 2},
        vocabulary_digest=hashing.digest_of(vocabulary),
        counts={
            "kept": sum(report.images for report in reports),
            "failed": sum(len(report.failures) for report in reports) + missing,
            "duplicate": num_duplicates,
            "captions": sum(report.captions for report in reports),
        },
        problems=problems,
        versions={name: importlib.metadata.version(name) for name in _PACKAGES},
        dataset={
            **{key: settings.dataset[key] for key in ("name", "dir")},
            "exclude": settings.settings.get("dataset", {}).get("exclude", ""),
        },
    )


def _splits(reports: Sequence[Report], settings: InfoSettings) -> dict[str, Any]:
    splits: dict[str, Any] = {}
    for report in reports:
        if report.split not in splits:
            keys = settings.views.keys(report.split)
            splits[report.split] = _empty_split(settings.num_shards, keys)
        entry = splits[report.split]
        entry["shard_lengths"][report.shard] = report.images
        entry["shard_bytes"][report.shard] = report.bytes
        entry["shard_digests"][report.shard] = report.digest
    return splits


def _empty_split(num_shards: int, views: Sequence[str]) -> dict[str, Any]:
    return {
        "shard_lengths": [0] * num_shards,
        "shard_bytes": [0] * num_shards,
        "shard_digests": [""] * num_shards,
        "views": list(views),
    }
