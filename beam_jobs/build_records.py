"""The records job: captioned photos to sharded TFRecords of features and tokenized captions.

A shard is the unit of work, retry and resume: manifest rows (never features) are grouped by
shard, and one worker encodes a shard from end to end. So memory stays bounded, a re-run does
only what is missing, and the bytes are the same on every runner with any number of workers.
"""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.utils import shared
from ml_collections import ConfigDict

from beam_jobs import encode, flink, progress, runner, shard_files, vocabulary, worker_errors
from imcap import datasets, encoders, records, text
from imcap.datasets import CaptionedImage
from imcap.errors import UserError

_PACKAGES = ("apache-beam", "keras", "numpy", "tensorflow", "tensorflow-text")


def run(config: ConfigDict, beam_args: Sequence[str] = (), *, overwrite: bool = False) -> None:
    """Builds or completes the records folder `config.records.dir`.

    Args:
      config: a resolved config (see `imcap.config.resolve`).
      beam_args: Beam's own options, such as `--runner=FlinkRunner`.
      overwrite: start over where the folder holds records of other settings.

    Raises:
      UserError: the folder cannot be written or holds records of other settings; the data set
        or the encoder cannot be read; no image was kept.
    """
    options = PipelineOptions(flink.complete(beam_args), pickle_library="cloudpickle")
    chosen = runner.choose(options)
    config = config if runner.is_local(options) else runner.absolute_paths(config)
    _check_readable(config)
    given = _given_vocabulary(config)
    encoder = encoders.build(config.encoder)
    settings = encoder_settings(config, encoder)
    _prepare_folder(config, settings, overwrite)
    with (
        worker_errors.passed_on(),
        progress.Progress(config.records.dir, local="://" not in config.records.dir),
        beam.Pipeline(runner=chosen, options=options) as pipeline,
    ):
        build(pipeline, config, settings, encoder, given)
    _summarize(config)


def _check_readable(config: ConfigDict) -> None:
    """Raises the reader's UserError here, in one line, before any worker starts."""
    if next(datasets.read(config.dataset, datasets.Problems()), None) is None:
        raise UserError(f"config.dataset.dir={config.dataset.dir} holds no photo with a caption")


def _given_vocabulary(config: ConfigDict) -> list[str] | None:
    path = config.text.vocabulary
    if not path:
        return None
    try:
        with FileSystems.open(path) as file:
            return text.parse_vocabulary(file.read().decode("utf-8"), path)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"config.text.vocabulary={path} cannot be read: {error}") from error


def build(
    pipeline: beam.Pipeline,
    config: ConfigDict,
    settings: dict[str, Any],
    encoder: encoders.Encoder,
    given_vocabulary: list[str] | None = None,
) -> None:
    """Adds the job's transforms to a pipeline; without a vocabulary the job builds one."""
    fingerprint = records.fingerprint(settings)
    manifest = pipeline | "Start" >> beam.Create([config.dataset.to_dict()])
    manifest |= "ReadManifest" >> beam.FlatMap(read_manifest).with_outputs("problems", main="rows")
    rows = manifest.rows | "Spread" >> beam.Reshuffle()
    lines = _vocabulary(pipeline, rows, config, given_vocabulary)
    total = rows | "CountRows" >> beam.combiners.Count.Globally()
    _ = total | "WriteTotal" >> beam.Map(_write_total, config.records.dir)
    reports = (
        rows
        | "Key" >> beam.Map(_key, config.records.num_shards)
        | "GroupByShard" >> beam.GroupByKey()
        | "EncodeShard"
        >> beam.ParDo(
            encode.EncodeShard(config, fingerprint, shared.Shared()),
            beam.pvalue.AsSingleton(lines),
        )
    )
    summary = {"settings": settings, "feature_shape": encoder.feature_shape}
    summary["feature_grid"] = encoder.feature_grid
    _ = (
        pipeline
        | "End" >> beam.Create([None])
        | "Finish"
        >> beam.Map(
            _finish,
            beam.pvalue.AsIter(reports),
            beam.pvalue.AsIter(manifest.problems),
            beam.pvalue.AsSingleton(lines),
            config.to_dict(),
            summary,
        )
    )


def read_manifest(dataset: dict[str, Any]) -> Iterator[CaptionedImage | beam.pvalue.TaggedOutput]:
    """Yields a data set's images, and at the end the kinds of problems found."""
    problems = datasets.Problems()
    yield from datasets.read(ConfigDict(dataset), problems)
    for kind, count in problems.counts.items():
        yield beam.pvalue.TaggedOutput("problems", (kind, count, problems.examples[kind]))


def _key(row: CaptionedImage, num_shards: int) -> tuple[tuple[str, int], CaptionedImage]:
    return (row.split, records.shard_of(row.image_id, num_shards)), row


def _vocabulary(pipeline, rows, config: ConfigDict, given) -> beam.PCollection[list[str]]:
    if given is not None:
        return pipeline | "GivenVocabulary" >> beam.Create([given])
    return (
        rows
        | "TrainCaptions" >> beam.FlatMap(lambda row: row.captions if row.split == "train" else ())
        | "BuildVocabulary"
        >> vocabulary.BuildVocabulary(config.text.min_count, config.text.vocab_size)
    )


def _write_total(total: int, folder: str) -> None:
    shard_files.write_text(
        FileSystems.join(folder, "progress", "all.json"), json.dumps({"total": total})
    )


def encoder_settings(config: ConfigDict, encoder: encoders.Encoder) -> dict[str, Any]:
    """Returns what decides over a folder's features: records of other settings do not mix."""
    return {
        "encoder": {
            "name": config.encoder.name,
            "layer": config.encoder.layer,
            "pooling": config.encoder.pooling,
            "weights_digest": encoder.digest(),
        },
        "preprocessing": {
            "image_size": config.encoder.image_size,
            "max_pixels": config.encoder.max_pixels,
        },
        "records": {
            "dtype": config.records.dtype,
            "flip": config.records.flip,
            "num_shards": config.records.num_shards,
        },
    }


def _prepare_folder(config: ConfigDict, settings: dict[str, Any], overwrite: bool) -> None:
    folder = config.records.dir
    if any(sign in folder for sign in "*?["):
        raise UserError(f"config.records.dir={folder} must do without the signs * ? [")
    path = FileSystems.join(folder, "shards", shard_files.SETTINGS)
    try:
        shard_files.make_folders(folder)
        if overwrite:
            shard_files.clear(folder)
        _check_settings(folder, shard_files.read_json(path), settings)
        shard_files.clean(folder)
        shard_files.write_text(path, json.dumps(settings, sort_keys=True))
        completed = FileSystems.join(folder, records.COMPLETED)
        if FileSystems.exists(completed):
            FileSystems.delete([completed])
    except OSError as error:
        raise UserError(f"config.records.dir={folder} cannot be written: {error}") from error


def _check_settings(folder: str, before: Any, now: dict[str, Any]) -> None:
    if before is None or before == now:
        return
    for part, values in now.items():
        for key, value in values.items():
            old = before.get(part, {}).get(key)
            if old != value:
                raise UserError(
                    f"{folder} holds records made with {part}.{key}={old!r}, now {value!r}: "
                    "--overwrite starts over, --config.records.dir=DIR keeps both"
                )


def _finish(
    _: None,
    reports: Iterable[shard_files.Report],
    problems: Iterable[tuple[str, int, str]],
    lines: list[str],
    config: dict[str, Any],
    summary: dict[str, Any],
) -> None:
    """Writes what describes the whole folder, the COMPLETED marker last."""
    config = ConfigDict(config)
    folder = config.records.dir
    reports = sorted(reports, key=lambda report: (report.split, report.shard))
    problems = {kind: {"count": n, "first": example} for kind, n, example in sorted(problems)}
    info = _info(config, reports, problems, lines, summary)
    shard_files.drop_stale(folder, reports, config.records.num_shards)
    failures = [json.dumps(f, sort_keys=True) + "\n" for r in reports for f in r.failures]
    shard_files.write_text(FileSystems.join(folder, records.VOCABULARY), "\n".join(lines) + "\n")
    shard_files.write_text(FileSystems.join(folder, records.FAILURES), "".join(failures))
    content = json.dumps(info, indent=2, sort_keys=True) + "\n"
    shard_files.write_text(FileSystems.join(folder, records.INFO), content)
    shard_files.write_text(FileSystems.join(folder, records.COMPLETED), "")


def _info(config, reports, problems, lines, summary) -> dict[str, Any]:
    settings = summary["settings"]
    contents = [content for report in reports for content, _ in report.contents]
    return {
        "schema_version": records.SCHEMA_VERSION,
        "splits": _splits(reports, config),
        "feature_shape": summary["feature_shape"],
        "feature_grid": summary["feature_grid"],
        "feature_dtype": config.records.dtype,
        "encoder": settings["encoder"],
        "preprocessing": settings["preprocessing"],
        "text": {"max_length": config.text.max_length, "vocabulary_size": len(lines) + 2},
        "vocabulary_digest": records.fingerprint(lines),
        "counts": {
            "kept": len(contents),
            "failed": sum(len(report.failures) for report in reports),
            "duplicate": len(contents) - len(set(contents)),
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


def _summarize(config: ConfigDict) -> None:
    info = records.read_info(config.records.dir)
    counts = info.counts
    if not counts["kept"]:
        raise UserError(
            f"no image of {config.dataset.dir} could be read; the reasons are in "
            f"{FileSystems.join(config.records.dir, records.FAILURES)}"
        )
    for kind, problem in info.problems.items():
        print(f"{config.dataset.name}: {problem['count']} {kind} (first: {problem['first']})")
    splits = ", ".join(f"{split} {info.num_images(split)}" for split in sorted(info.splits))
    print(
        f"{config.records.dir}: {counts['kept']} images ({splits}), {counts['failed']} failed, "
        f"{counts['duplicate']} duplicates, {counts['captions']} captions, "
        f"{info.text['vocabulary_size']} token ids, features "
        f"{'x'.join(map(str, info.feature_shape))} {info.feature_dtype}"
    )
