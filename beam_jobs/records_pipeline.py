"""The records job as a Beam pipeline: hands each transform the settings that it needs."""

from __future__ import annotations

from typing import NamedTuple

import apache_beam as beam
from apache_beam.utils import shared
from ml_collections import ConfigDict

from beam_jobs import records_folder
from beam_jobs.records_folder import RecordsSettings
from beam_jobs.transforms import (
    duplicates,
    encode_shards,
    manifest,
    read_parts,
    vocabulary,
    write_info,
)
from beam_jobs.transforms.check_manifest import CheckManifest
from imcap import datasets, encoders, hashing, records
from imcap.datasets import CaptionedImage
from imcap.datasets.parted import PartedReader


class Work(NamedTuple):
    """What there is to encode, as PCollections.

    Attributes:
      shards: ((split, shard), packs of rows).
      vocabulary: one element, the lines of vocab.txt.
      equal_images: one element, a `duplicates.Summary`.
      problems: (kind, count, place of the first).
    """

    shards: beam.PCollection
    vocabulary: beam.PCollection[list[str]]
    equal_images: beam.PCollection[duplicates.Summary]
    problems: beam.PCollection


def add_transforms(
    pipeline: beam.Pipeline,
    config: ConfigDict,
    settings: RecordsSettings,
    reader: datasets.Reader,
    encoder: encoders.Encoder,
    shared_graph: shared.Shared,
    given_vocabulary: list[str] | None = None,
) -> None:
    """Adds the job to a pipeline.

    Args:
      pipeline: of any runner.
      config: with every choice made.
      settings: see `build_records.records_settings`.
      reader: of `config.dataset`.
      encoder: what `config.encoder` describes.
      shared_graph: finds the EncoderGraph that the threads of a process share.
      given_vocabulary: the lines of vocab.txt; None: the job makes one of the train captions.
    """
    work = add_manifest(pipeline, config, reader, given_vocabulary)
    reports = work.shards | "EncodeShard" >> beam.ParDo(
        encode_shards.EncodeShard(_shard_settings(config, settings), shared_graph),
        beam.pvalue.AsSingleton(work.vocabulary),
    )
    _ = (
        pipeline
        | "End" >> beam.Create([None])
        | "Finish"
        >> beam.Map(
            write_info.write_info,
            beam.pvalue.AsIter(reports),
            beam.pvalue.AsIter(work.problems),
            beam.pvalue.AsSingleton(work.vocabulary),
            beam.pvalue.AsSingleton(work.equal_images),
            _info_settings(config, settings, encoder),
        )
    )


def add_manifest(
    pipeline: beam.Pipeline,
    config: ConfigDict,
    reader: datasets.Reader,
    given_vocabulary: list[str] | None = None,
) -> Work:
    """Adds what comes before any image is encoded; arguments as of `add_transforms`."""
    read = pipeline | "Start" >> beam.Create([None]) | "Manifest" >> _read(config, reader)
    rows = read["rows"]
    accepted = rows | "CheckManifest" >> CheckManifest(
        read["problems"],
        config.records.dir,
        config.records.max_failures,
        needs_train=given_vocabulary is None,
    )
    # Everything that encodes needs the vocabulary, so nothing is encoded before the check.
    lines = _vocabulary(pipeline, rows, config.text, given_vocabulary) | "Accepted" >> beam.Map(
        lambda lines, _: lines, beam.pvalue.AsSingleton(accepted)
    )
    groups = _duplicates(pipeline, rows, config.records)
    leaks = groups | "Leaks" >> beam.FlatMap(duplicates.leaks)
    shards = rows | "GroupByShard" >> manifest.GroupByShard(config.records.num_shards, leaks)
    return Work(shards, lines, _summary(groups), read["problems"])


def _read(config: ConfigDict, reader: datasets.Reader) -> beam.PTransform:
    """Returns what reads the data set: many workers, where its source has parts, else one."""
    if isinstance(reader, PartedReader):
        return read_parts.ReadParts(
            config.dataset.to_dict(),
            reader,
            config.records.limit,
            digest=config.records.find_duplicates,
        )
    return manifest.ReadManifest(config.dataset.to_dict(), config.records.limit)


def _duplicates(
    pipeline: beam.Pipeline, rows: beam.PCollection[CaptionedImage], config: ConfigDict
) -> beam.PCollection[duplicates.Group]:
    """`config`: a config's `records` part."""
    if config.find_duplicates:
        unpacked = records_folder.unpacked_images(config.dir)
        return rows | "FindDuplicates" >> duplicates.FindDuplicates(unpacked)
    return pipeline | "NoDuplicates" >> beam.Create([])


def _summary(groups: beam.PCollection[duplicates.Group]) -> beam.PCollection[duplicates.Summary]:
    return (
        groups
        | "Summarize" >> beam.Map(duplicates.summarize)
        | "AddSummaries" >> beam.CombineGlobally(duplicates.add_summaries)
    )


def _vocabulary(
    pipeline: beam.Pipeline,
    rows: beam.PCollection[CaptionedImage],
    config: ConfigDict,
    given: list[str] | None,
) -> beam.PCollection[list[str]]:
    """`config`: a config's `text` part."""
    if given is not None:
        return pipeline | "GivenVocabulary" >> beam.Create([given])
    return (
        rows
        | "TrainCaptions" >> beam.FlatMap(lambda row: row.captions if row.split == "train" else ())
        | "BuildVocabulary" >> vocabulary.BuildVocabulary(config.min_count, config.vocab_size)
    )


def _shard_settings(config: ConfigDict, settings: RecordsSettings) -> encode_shards.ShardSettings:
    return encode_shards.ShardSettings(
        folder=config.records.dir,
        data_folder=config.dataset.dir,
        num_shards=config.records.num_shards,
        dtype=config.records.dtype,
        compression=config.records.compression,
        views=records.Views.of(config.records),
        seed=config.seed,
        max_failures=config.records.max_failures,
        max_length=config.text.max_length,
        encoder=config.encoder.to_dict(),
        fingerprint=hashing.digest_of(settings),
    )


def _info_settings(
    config: ConfigDict, settings: RecordsSettings, encoder: encoders.Encoder
) -> write_info.InfoSettings:
    return write_info.InfoSettings(
        folder=config.records.dir,
        num_shards=config.records.num_shards,
        views=records.Views.of(config.records),
        max_length=config.text.max_length,
        feature_shape=encoder.feature_shape,
        feature_grid=encoder.feature_grid,
        feature_dtype=config.records.dtype,
        compression=config.records.compression,
        settings=settings,
        dataset=config.dataset.to_dict(),
    )
