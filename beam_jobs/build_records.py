"""The records job: captioned images to sharded TFRecords of features and tokenized captions.

A shard is the unit of work, retry and resume: manifest rows (never features) are grouped by
shard, and one worker encodes a shard from end to end. So memory stays bounded, a re-run does
only what is missing, and the bytes are the same on every runner with any number of workers.
"""

from __future__ import annotations

from collections.abc import Sequence

import apache_beam as beam
from absl import logging
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.utils import shared
from ml_collections import ConfigDict

from beam_jobs import estimate, progress_bar, records_folder, records_pipeline
from beam_jobs.count_images import count_images
from beam_jobs.records_folder import RecordsSettings
from beam_jobs.runners import flink, job_errors, runner_options
from beam_jobs.transforms import encoder_graph, failure_limit
from beam_jobs.transforms.check_manifest import check_splits, warn_without_dev
from imcap import config as config_lib
from imcap import datasets, encoders, filesystem, hashing, records, runtime, text
from imcap.datasets import selection
from imcap.encoders import compute_dtype
from imcap.errors import UserError, one_line


def build_records(
    config: ConfigDict,
    beam_args: Sequence[str] = (),
    *,
    workdir: str = "",
    overwrite: bool = False,
) -> records.Info:
    """Builds or completes the records folder `config.records.dir`.

    Args:
      config: a resolved config (see `imcap.config.resolve`).
      beam_args: Beam's own options, such as `--runner=FlinkRunner`.
      workdir: the run's folder, which gets config.json once the work is accepted; empty: none.
      overwrite: start over where the folder holds records of other settings.

    Returns:
      What info.json tells of the finished folder; `summarize` puts it into lines.

    Raises:
      UserError: the folder cannot be written or holds records of other settings; the data set
        or the encoder cannot be read; there is nothing to train on; no image was kept; the run
        is trained with other settings.
    """
    if workdir:
        config_lib.check_run(config, workdir)
    resolved = config
    options = PipelineOptions(flink.complete_options(beam_args), pickle_library="cloudpickle")
    FileSystems.set_options(options)
    runner = runner_options.create_runner(options)
    if not runner_options.is_local(options):
        config = runner_options.absolute_paths(config)
    failure_limit.validate(config.records.max_failures)
    existing = None if overwrite else records_folder.read_settings(config.records.dir)
    reader = datasets.build_reader(config.dataset)
    splits = _check_and_count(config, reader, existing, beam_args)
    given = _given_vocabulary(config.text.vocabulary)
    encoder = encoders.build(config.encoder)
    config = _with_choices(config, encoder, existing, splits)
    settings = _check_settings(config, encoder, existing)
    records_folder.prepare(config.records.dir, settings, overwrite=overwrite)
    if workdir:
        config_lib.save(resolved, workdir)
    shared_graph, fingerprint = shared.Shared(), hashing.digest_of(settings)
    # Workers that are threads of this process find the graph that is built already.
    graph = shared_graph.acquire(
        lambda: encoder_graph.EncoderGraph(config.encoder, config.records.dtype, encoder),
        fingerprint,
    )
    pipeline = beam.Pipeline(runner=runner, options=options)
    records_pipeline.add_transforms(
        pipeline, config, settings, reader, encoder, shared_graph, given
    )
    runtime.return_large_blocks()  # For the manifest's shuffles, which come before the encoder.
    with (
        job_errors.raised_in_one_line(flink.cluster_address(options)),
        progress_bar.ProgressBar(
            config.records.dir, local=not filesystem.is_remote(config.records.dir)
        ),
    ):
        pipeline.run().wait_until_finish()
    del graph  # The last strong reference: `shared_graph` holds a weak one.
    return _finished_info(config.records.dir, config.dataset.dir)


def summarize(folder: str, info: records.Info) -> list[str]:
    """Returns lines that say what a job kept and what it left out."""
    counts = info.counts
    splits = ", ".join(f"{split} {info.num_images(split)}" for split in sorted(info.splits))
    return [
        *(
            f"{info.dataset['name']}: {problem['count']} {kind} (first: {problem['first']})"
            for kind, problem in info.problems.items()
        ),
        f"{folder}: {counts['kept']} images ({splits}), {counts['failed']} failed, "
        f"{counts['duplicate']} duplicates, {counts['captions']} captions, "
        f"{info.text['vocabulary_size']} token ids, features "
        f"{'x'.join(map(str, info.feature_shape))} {info.feature_dtype}",
    ]


def dry_run(config: ConfigDict, beam_args: Sequence[str] = (), *, workdir: str = "") -> list[str]:
    """Returns lines that say what `build_records` would do, how many bytes it takes, and how
    long. Leaves nothing written.

    Args:
      config: a resolved config.
      beam_args: Beam's own options; only a large table is counted with them.
      workdir: the run's folder; empty: none.

    Raises:
      UserError: as `build_records` does before it starts, and if no image can be read.
    """
    if workdir:
        config_lib.check_run(config, workdir)
    failure_limit.validate(config.records.max_failures)
    if not runner_options.is_local(PipelineOptions(list(beam_args))):
        config = runner_options.absolute_paths(config)
    with estimate.read_overview(
        config.dataset, config.records.limit, config.records.dir, beam_args
    ) as (splits, timed_rows):
        check_splits(splits, needs_train=not config.text.vocabulary)
        warn_without_dev(splits)
        _given_vocabulary(config.text.vocabulary)
        encoder = encoders.build(config.encoder)
        existing = records_folder.read_settings(config.records.dir)
        config = _with_choices(config, encoder, existing, splits)
        _check_settings(config, encoder, existing)
        rate = estimate.images_per_second(timed_rows, config.encoder, encoder, config.dataset.dir)
    records_config = config.records
    sizes = estimate.split_bytes(
        splits, encoder.feature_shape, records_config.dtype, records.Views.of(records_config)
    )
    lines = estimate.describe(
        splits,
        sizes,
        num_shards=records_config.num_shards,
        views=records.Views.of(records_config),
        rate=rate,
        at_most=records_config.dtype == records.QUANTIZED,
    )
    done = records_folder.count_reports(records_config.dir)
    if not done:
        return lines
    return [
        *lines,
        f"{done} shards in {records_config.dir} have been built already; those whose images and "
        "settings are unchanged are kept",
    ]


def _check_and_count(
    config: ConfigDict,
    reader: datasets.Reader,
    existing: RecordsSettings | None,
    beam_args: Sequence[str],
) -> dict[str, int] | None:
    """Raises the reader's UserError in one line, before any worker starts.

    Returns:
      Images by split, where the number of shards has to be chosen by them. Else None: the job
      itself counts.
    """
    reader.first()  # Raises what the reader refuses.
    if config.records.num_shards or existing is not None:
        return None
    splits = count_images(
        reader, config.dataset, config.records.limit, config.records.dir, beam_args
    )
    check_splits(splits, needs_train=not config.text.vocabulary)
    return splits


def _given_vocabulary(path: str) -> list[str] | None:
    """Returns the lines of the vocabulary that the config names, None if it names none."""
    if not path:
        return None
    try:
        content = filesystem.read_bytes(path).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = one_line(error)
        raise UserError(f"config.text.vocabulary={path} cannot be read: {reason}") from error
    return text.parse_vocabulary(content, path)


def _with_choices(
    config: ConfigDict,
    encoder: encoders.Encoder,
    existing: RecordsSettings | None,
    splits: dict[str, int] | None,
) -> ConfigDict:
    """Fills in what the config leaves to the job: as the folder has it, or chosen now.

    That is `records.num_shards=0`, by the size of the features, and
    `encoder.compute_dtype=auto`, by what is faster on this machine.
    """
    config = config.copy_and_resolve_references()
    records_config = config.records
    if not records_config.num_shards:
        if existing:
            records_config.num_shards = existing["records"]["num_shards"]
        else:
            assert splits is not None  # Counted where the folder holds no settings.
            sizes = estimate.split_bytes(
                splits,
                encoder.feature_shape,
                records_config.dtype,
                records.Views.of(records_config),
            )
            records_config.num_shards = estimate.choose_num_shards(sizes, records_config.shard_mb)
    if config.encoder.compute_dtype == "auto":
        if existing:
            config.encoder.compute_dtype = existing["encoder"]["compute_dtype"]
        else:
            batch_size = encoders.batch_size(config.encoder)
            choice = compute_dtype.choose("auto", encoder.network, batch_size)
            logging.info("config.encoder.compute_dtype=%s (%s)", choice.name, choice.reason)
            config.encoder.compute_dtype = choice.name
    return config


def _check_settings(
    config: ConfigDict, encoder: encoders.Encoder, existing: RecordsSettings | None
) -> RecordsSettings:
    """Returns the settings to write: those in the folder where it has some.

    They may spell the same differently (a path), and each report holds their fingerprint, so the
    folder's own are kept.
    """
    settings = records_settings(config, encoder)
    records_folder.check_settings(config.records.dir, existing, settings)
    return existing or settings


def records_settings(config: ConfigDict, encoder: encoders.Encoder) -> RecordsSettings:
    """Returns what determines a folder's features: records of other settings do not mix."""
    return records.encoder_settings(config.encoder, encoder.digest()) | {
        "records": {
            "dtype": config.records.dtype,
            "flip": config.records.flip,
            "flip_eval": config.records.flip_eval,
            "crops": config.records.crops,
            "compression": config.records.compression,
            "num_shards": config.records.num_shards,
        },
        "dataset": {"exclude": selection.digest(config.dataset.exclude)},
        # Nothing else in records depends on the seed.
        **({"config": {"seed": config.seed}} if config.records.crops else {}),
    }


def _finished_info(folder: str, data_folder: str) -> records.Info:
    path = FileSystems.join(folder, records.INFO)
    info = records.parse_info(filesystem.read_bytes(path).decode("utf-8"), path)
    if not info.counts["kept"]:
        raise UserError(
            f"no image of {data_folder} could be read; the reasons are in "
            f"{FileSystems.join(folder, records.FAILURES)}"
        )
    return info
