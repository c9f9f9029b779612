"""What describes a finished records folder: info.json, vocab.txt, failures.jsonl, COMPLETED."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Iterable, Sequence
from typing import Any

from apache_beam.io.filesystems import FileSystems
from ml_collections import ConfigDict

from beam_jobs import shard_files
from beam_jobs.transforms import duplicates
from imcap import datasets, filesystem, records
from imcap.datasets.parted import PartedReader

_PACKAGES = ("apache-beam", "keras", "numpy", "tensorflow", "tensorflow-text")


def finish(
    _: None,
    reports: Iterable[shard_files.Report],
    problems: Iterable[tuple[str, int, str]],
    lines: list[str],
    equals: list[duplicates.Group],
    config: dict[str, Any],
    facts: dict[str, Any],
) -> None:
    """Writes what describes the whole folder, the COMPLETED marker last."""
    config = ConfigDict(config)
    folder = config.records.dir
    reports = sorted(reports, key=lambda report: (report.split, report.shard))
    problems = _with_line_numbers(_merge(problems), config) | _leak_problem(equals)
    facts["duplicate"] = sum(len(group) - 1 for group in equals)
    info = _info(config, reports, problems, lines, facts)
    shard_files.drop_stale(folder, reports, config.records.num_shards)
    failures = [json.dumps(f, sort_keys=True) + "\n" for r in reports for f in r.failures]
    filesystem.write_text(FileSystems.join(folder, records.VOCABULARY), "\n".join(lines) + "\n")
    filesystem.write_text(FileSystems.join(folder, records.FAILURES), "".join(failures))
    content = json.dumps(info, indent=2, sort_keys=True) + "\n"
    filesystem.write_text(FileSystems.join(folder, records.INFO), content)
    filesystem.write_text(FileSystems.join(folder, records.COMPLETED), "")


def _merge(problems: Iterable[tuple[str, int, str]]) -> dict[str, dict[str, Any]]:
    """Sums up the kinds of problems of all workers, with an example that is always the same."""
    merged: dict[str, dict[str, Any]] = {}
    for kind, count, example in sorted(problems, key=lambda problem: (problem[0], problem[2])):
        merged.setdefault(kind, {"count": 0, "first": example})["count"] += count
    return merged


def _with_line_numbers(problems: dict[str, dict[str, Any]], config: ConfigDict) -> dict[str, Any]:
    """Gives the examples line numbers, which the readers of a file's inner parts do not know."""
    reader = datasets.build_reader(config.dataset) if problems else None
    if isinstance(reader, PartedReader):
        for problem in problems.values():
            problem["first"] = reader.with_line_number(problem["first"])
    return problems


def _leak_problem(equals: list[duplicates.Group]) -> dict[str, dict[str, Any]]:
    leaked = [image_id for group in equals for image_id in duplicates.leaks(group)]
    kind = "photos left out because another split has the same one"
    return {kind: {"count": len(leaked), "first": min(leaked)}} if leaked else {}


def _info(config, reports, problems, lines, facts) -> dict[str, Any]:
    settings = facts["settings"]
    return {
        "schema_version": records.SCHEMA_VERSION,
        "splits": _splits(reports, config),
        "feature_shape": facts["feature_shape"],
        "feature_grid": facts["feature_grid"],
        "feature_dtype": config.records.dtype,
        "compression": config.records.compression,
        "encoder": settings["encoder"],
        "preprocessing": settings["preprocessing"],
        "text": {"max_length": config.text.max_length, "vocabulary_size": len(lines) + 2},
        "vocabulary_digest": records.fingerprint(lines),
        "counts": {
            "kept": sum(report.images for report in reports),
            "failed": sum(len(report.failures) for report in reports),
            "duplicate": facts["duplicate"],
            "captions": sum(report.captions for report in reports),
        },
        "problems": problems,
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "dataset": {"name": config.dataset.name, "dir": config.dataset.dir},
    }


def _splits(reports: Sequence[shard_files.Report], config: ConfigDict) -> dict[str, Any]:
    splits: dict[str, Any] = {}
    for report in reports:
        entry = splits.setdefault(report.split, _empty_split(report.split, config))
        entry["shard_lengths"][report.shard] = report.images
        entry["shard_bytes"][report.shard] = report.bytes
        entry["shard_digests"][report.shard] = report.digest
    return splits


def _empty_split(split: str, config: ConfigDict) -> dict[str, Any]:
    num_shards = config.records.num_shards
    is_flipped = config.records.flip and split == "train"
    return {
        "shard_lengths": [0] * num_shards,
        "shard_bytes": [0] * num_shards,
        "shard_digests": [""] * num_shards,
        "views": list(records.VIEWS if is_flipped else records.VIEWS[:1]),
    }
