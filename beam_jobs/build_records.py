"""The records job: captioned photos to sharded TFRecords of features and tokenized captions.

A shard is the unit of work, retry and resume: manifest rows (never features) are grouped by
shard, and one worker encodes a shard from end to end. So memory stays bounded, a re-run does
only what is missing, and the bytes are the same on every runner with any number of workers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.utils import shared
from ml_collections import ConfigDict

from beam_jobs import estimate, progress, shard_files
from beam_jobs.runners import flink, runner_options, worker_errors
from beam_jobs.transforms import (
    duplicates,
    encode_shards,
    failure_limit,
    manifest,
    read_parts,
    vocabulary,
    write_info,
)
from imcap import datasets, encoders, filesystem, records, runtime, text
from imcap.datasets.parted import PartedReader
from imcap.errors import UserError


def build_records(
    config: ConfigDict, beam_args: Sequence[str] = (), *, overwrite: bool = False
) -> None:
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
    FileSystems.set_options(options)
    chosen = runner_options.choose(options)
    config = config if runner_options.is_local(options) else runner_options.absolute_paths(config)
    _check_readable(config)
    given = _given_vocabulary(config)
    encoder = encoders.build(config.encoder)
    config = _with_num_shards(config, encoder, overwrite)
    settings = records_settings(config, encoder)
    _prepare_folder(config, settings, overwrite)
    model, fingerprint = shared.Shared(), records.fingerprint(settings)
    # Workers that are threads of this process find the encoder that is built already.
    built = model.acquire(lambda: encode_shards.Encode(config, encoder), fingerprint)
    runtime.return_large_blocks()  # Of the manifest's shuffles; the CNN has its own wishes.
    with (
        worker_errors.passed_on(),
        progress.Progress(config.records.dir, local=not filesystem.is_remote(config.records.dir)),
        beam.Pipeline(runner=chosen, options=options) as pipeline,
    ):
        build(pipeline, config, settings, encoder, model, given)
    del built
    _summarize(config)


def dry_run(config: ConfigDict) -> list[str]:
    """Returns lines that say what `build_records` would do, how many bytes it takes, and how
    long.

    Raises:
      UserError: as `build_records` does before it starts.
    """
    _check_readable(config)
    encoder = encoders.build(config.encoder)
    config = _with_num_shards(config, encoder, overwrite=False)
    lines = estimate.describe(config, encoder, estimate.count_images(config))
    settings = filesystem.read_json(_settings_path(config.records.dir))
    _check_settings(config.records.dir, settings, records_settings(config, encoder))
    done = shard_files.count_reports(config.records.dir)
    return [*lines, f"{done} shards in {config.records.dir} are finished already"]


def _with_num_shards(config, encoder, overwrite: bool) -> ConfigDict:
    """Fills in `num_shards` where it is left to us: as before, or by the size of the features."""
    if config.records.num_shards:
        return config
    before = None if overwrite else filesystem.read_json(_settings_path(config.records.dir))
    config = config.copy_and_resolve_references()
    if before:
        config.records.num_shards = before["records"]["num_shards"]
    else:
        counts = estimate.count_images(config)
        config.records.num_shards = estimate.choose_num_shards(config, encoder, counts)
    return config


def _settings_path(folder: str) -> str:
    return FileSystems.join(folder, "shards", shard_files.SETTINGS)


def _check_readable(config: ConfigDict) -> None:
    """Raises a bad setting's or the reader's UserError in one line, before any worker starts."""
    failure_limit.allowed(config.records.max_failures, total=1)
    datasets.build_reader(config.dataset).first()


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
    model: shared.Shared,
    given_vocabulary: list[str] | None = None,
) -> None:
    """Adds the job's transforms to a pipeline; without a vocabulary the job builds one."""
    fingerprint = records.fingerprint(settings)
    read = pipeline | "Start" >> beam.Create([None]) | "Manifest" >> _reader(config)
    rows = read["rows"]
    lines = _vocabulary(pipeline, rows, config, given_vocabulary)
    total = rows | "CountRows" >> beam.combiners.Count.Globally()
    _ = total | "WriteTotal" >> beam.Map(_write_total, config.records.dir)
    equals = _duplicates(pipeline, rows, config)
    leaked = equals | "Leaks" >> beam.FlatMap(duplicates.leaks)
    reports = (
        rows
        | "GroupByShard" >> manifest.GroupByShard(config.records.num_shards)
        | "EncodeShard"
        >> beam.ParDo(
            encode_shards.EncodeShard(config, fingerprint, model),
            beam.pvalue.AsSingleton(lines),
            beam.pvalue.AsList(leaked),
        )
    )
    facts = {
        "settings": settings,
        "feature_shape": encoder.feature_shape,
        "feature_grid": encoder.feature_grid,
    }
    _ = (
        pipeline
        | "End" >> beam.Create([None])
        | "Finish"
        >> beam.Map(
            write_info.finish,
            beam.pvalue.AsIter(reports),
            beam.pvalue.AsIter(read["problems"]),
            beam.pvalue.AsSingleton(lines),
            beam.pvalue.AsList(equals),
            config.to_dict(),
            facts,
        )
    )


def _reader(config: ConfigDict) -> beam.PTransform:
    """A source with parts is read by many workers, any other one by one worker.

    So is the source of a sample, as its order says which images are the first.
    """
    reader = datasets.build_reader(config.dataset)
    if isinstance(reader, PartedReader) and not config.records.limit:
        return read_parts.ReadParts(config.dataset.to_dict(), reader)
    return manifest.ReadManifest(config.dataset, config.records.limit)


def _duplicates(pipeline, rows, config: ConfigDict) -> beam.PCollection[duplicates.Group]:
    if config.records.find_duplicates:
        return rows | "FindDuplicates" >> duplicates.FindDuplicates()
    return pipeline | "NoDuplicates" >> beam.Create([])


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
    filesystem.write_text(
        FileSystems.join(folder, "progress", "all.json"), json.dumps({"total": total})
    )


def records_settings(config: ConfigDict, encoder: encoders.Encoder) -> dict[str, Any]:
    """Returns what decides over a folder's features: records of other settings do not mix."""
    return records.encoder_settings(config.encoder, encoder.digest()) | {
        "records": {
            "dtype": config.records.dtype,
            "flip": config.records.flip,
            "compression": config.records.compression,
            "num_shards": config.records.num_shards,
        },
    }


def _prepare_folder(config: ConfigDict, settings: dict[str, Any], overwrite: bool) -> None:
    folder = config.records.dir
    if any(sign in folder for sign in "*?["):
        raise UserError(f"config.records.dir={folder} must do without the signs * ? [")
    path = _settings_path(folder)
    try:
        shard_files.make_folders(folder)
        if overwrite:
            shard_files.clear(folder)
        _check_settings(folder, filesystem.read_json(path), settings)
        shard_files.clean(folder)
        filesystem.write_text(path, json.dumps(settings, sort_keys=True))
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


def _summarize(config: ConfigDict) -> None:
    path = FileSystems.join(config.records.dir, records.INFO)
    with FileSystems.open(path) as file:
        info = records.parse_info(file.read().decode("utf-8"), path)
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
