"""The work on one shard: images in, features and tokenized captions out."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
from apache_beam.io.filesystems import FileSystems
from apache_beam.metrics import Metrics
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils import shared
from apache_beam.utils.timestamp import MIN_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue
from ml_collections import ConfigDict

from beam_jobs import records_folder
from beam_jobs.heartbeats import Heartbeat
from beam_jobs.shard_reports import Report, read_report, write_shard
from beam_jobs.transforms import encoder_graph, failure_limit, manifest
from beam_jobs.transforms.crops import Crops
from beam_jobs.transforms.decode_images import Decoded, decode_ahead
from beam_jobs.transforms.encoder_graph import EncoderGraph
from imcap import encoders, filesystem, hashing, records, text
from imcap.datasets import CaptionedImage
from imcap.prefetch import in_order


@dataclasses.dataclass(frozen=True)
class ShardSettings:
    """What a worker needs of the config to encode shards.

    Attributes:
      folder: the records folder.
      data_folder: the data set's, which paths in records are relative to.
      num_shards: of each split.
      dtype: of the features.
      compression: of the shards, empty or GZIP.
      views: what is encoded of each image.
      seed: of the random crops.
      max_failures: see `failure_limit.allowed`.
      max_length: words kept of a caption.
      encoder: a config's `encoder` part.
      fingerprint: of everything that determines the features.
    """

    folder: str
    data_folder: str
    num_shards: int
    dtype: str
    compression: str
    views: records.Views
    seed: int
    max_failures: str
    max_length: int
    encoder: dict[str, Any]
    fingerprint: str


class _Task(NamedTuple):
    """A shard whose images are being read.

    Attributes:
      report: filled in as the work goes on.
      num_images: manifest rows of the shard.
      batches: the images, read and decoded ahead.
      vocabulary: the lines of vocab.txt.
    """

    report: Report
    num_images: int
    batches: Iterator[list[Decoded]]
    vocabulary: list[str]


class EncodeShard(beam.DoFn):
    """Encodes the images of one shard, unless it is finished already.

    Takes ((split, shard), packs of rows) and the vocabulary; yields the shard's report.
    """

    def __init__(self, settings: ShardSettings, shared_graph: shared.Shared) -> None:
        """`shared_graph`: finds the EncoderGraph that the threads of a process share."""
        self._settings = settings
        self._shared_graph = shared_graph
        names = ("kept", "failed", "reused", "retokenized")
        self._counters = {n: Metrics.counter("imcap", f"images_{n}") for n in names}
        self._counters |= {n: Metrics.counter("imcap", n) for n in ("captions", "bytes")}
        self._rate = Metrics.distribution("imcap", "images_per_second")  # Of each shard.

    def setup(self) -> None:
        self._encoder = ConfigDict(self._settings.encoder)
        self._batch_size = encoders.batch_size(self._encoder)
        encoder_graph.prepare_process(self._encoder.compute_dtype)

    def start_bundle(self) -> None:
        self._waiting: _Task | None = None

    def process(
        self, element: tuple[tuple[str, int], Iterable[bytes]], vocabulary: list[str]
    ) -> Iterator[Report]:
        (split, shard), packs = element
        rows = manifest.rows_of(packs)
        report = self._expected(split, shard, rows, vocabulary)
        finished = read_report(self._settings.folder, split, shard, self._settings.num_shards)
        if (
            finished
            and finished.is_same_work(report)
            and not self._is_failure_readable(finished, rows)
        ):
            yield self._reuse(finished, report, len(rows), vocabulary)
            return
        batches = _batches(self._decode(rows, split), self._batch_size)
        task = _Task(report, len(rows), batches, vocabulary)
        # This shard's images are being read while the one before is encoded.
        before, self._waiting = self._waiting, task
        if before:
            yield self._encode_shard(before)

    def finish_bundle(self) -> Iterator[WindowedValue]:
        """Encodes the last shard, which no other one followed."""
        task, self._waiting = self._waiting, None
        if task:
            report = self._encode_shard(task)
            yield WindowedValue(report, MIN_TIMESTAMP, [GlobalWindow()])

    def _expected(
        self, split: str, shard: int, rows: Sequence[CaptionedImage], vocabulary: list[str]
    ) -> Report:
        """Returns the report of this work before anything is done."""
        folder = self._settings.data_folder
        made_from = [[r.image_id, records.path_in_record(r.path, folder), r.captions] for r in rows]
        return Report(
            split=split,
            shard=shard,
            rows=hashing.digest_of(made_from),
            encoder=self._settings.fingerprint,
            text=hashing.digest_of([vocabulary, self._settings.max_length]),
        )

    def _is_failure_readable(self, report: Report, rows: Sequence[CaptionedImage]) -> bool:
        """Tells whether an image that failed can be read by now."""
        failed = {failure["image_id"] for failure in report.failures}
        again = self._decode([row for row in rows if row.image_id in failed], report.split)
        return any(decoded.image is not None for decoded in again)

    def _decode(self, rows: Iterable[CaptionedImage], split: str) -> Iterator[Decoded]:
        size, max_pixels = self._encoder.image_size, self._encoder.max_pixels
        settings = self._settings
        unpacked = records_folder.unpacked_images(settings.folder)
        crops = Crops(settings.views.num_crops(split), settings.seed, settings.views.flip)
        return decode_ahead(rows, size, max_pixels, 2 * self._batch_size, unpacked, crops)

    def _reuse(
        self, finished: Report, report: Report, num_images: int, vocabulary: list[str]
    ) -> Report:
        """Takes over a finished shard; tokens of other text settings are made anew."""
        heartbeat = Heartbeat(self._settings.folder, report.split, report.shard)
        if finished.text != report.text:
            finished = self._retokenize(finished, report.text, vocabulary)
            self._counters["retokenized"].inc(finished.images)
        heartbeat.beat(reused=num_images, last=True)
        self._counters["reused"].inc(num_images)
        return finished

    def _retokenize(self, finished: Report, fingerprint: str, vocabulary: list[str]) -> Report:
        settings = self._settings
        report = dataclasses.replace(finished, text=fingerprint)
        name = records.shard_name(report.split, report.shard, settings.num_shards)
        encode = self._tokenizer(vocabulary, fingerprint).encode
        with filesystem.local_copy(FileSystems.join(settings.folder, name)) as path:
            old = records.dataset([path], settings.compression)
            new = records.retokenize(old, encode)
            return write_shard(
                settings.folder, report, settings.num_shards, new, settings.compression
            )

    def _tokenizer(self, vocabulary: list[str], fingerprint: str) -> text.Tokenizer:
        if getattr(self, "_tokenizer_of", None) != fingerprint:
            self._tokenizer_of = fingerprint
            self._last_tokenizer = text.Tokenizer(vocabulary, self._settings.max_length)
        return self._last_tokenizer

    def _encode_shard(self, task: _Task) -> Report:
        report, settings, began = task.report, self._settings, time.monotonic()
        encode = self._shared_graph.acquire(
            lambda: EncoderGraph(self._encoder, settings.dtype), settings.fingerprint
        )
        heartbeat = Heartbeat(settings.folder, report.split, report.shard)
        serialized = self._records(task, encode, heartbeat)
        report = write_shard(
            settings.folder, report, settings.num_shards, serialized, settings.compression
        )
        heartbeat.beat(done=task.num_images, failed=len(report.failures), last=True)
        if report.failures:
            self._check_failures(report)
        self._count(report, time.monotonic() - began)
        return report

    def _records(self, task: _Task, encode: EncoderGraph, heartbeat: Heartbeat) -> Iterator[bytes]:
        """Yields the shard's records in order, and fills in the report."""
        report, done = task.report, 0
        tokenizer = self._tokenizer(task.vocabulary, report.text)
        keys = self._settings.views.keys(report.split)
        for batch, views in _features(task.batches, encode, keys):
            kept = [decoded.row for decoded in batch if decoded.image is not None]
            report.failures += [_failure(decoded) for decoded in batch if decoded.image is None]
            report.images += len(kept)
            report.captions += sum(len(row.captions) for row in kept)
            yield from self._serialize(kept, keys, views, tokenizer)
            done += len(batch)
            if heartbeat.beat(done=done, failed=len(report.failures)) and len(kept) < len(batch):
                self._check_failures(report)

    def _serialize(
        self,
        rows: list[CaptionedImage],
        keys: Sequence[str],
        views: list[np.ndarray],
        tokenizer: text.Tokenizer,
    ) -> Iterator[bytes]:
        tokens = iter(tokenizer.encode([c for row in rows for c in row.captions]))
        for index, row in enumerate(rows):
            yield records.serialize(
                row.image_id,
                records.path_in_record(row.path, self._settings.data_folder),
                [view[index] for view in views],
                row.captions,
                [next(tokens) for _ in row.captions],
                keys=keys,
                dtype=self._settings.dtype,
            )

    def _check_failures(self, report: Report) -> None:
        reasons = [failure["reason"] for failure in report.failures]
        failure_limit.check(self._settings.folder, self._settings.max_failures, reasons)

    def _count(self, report: Report, seconds: float) -> None:
        self._counters["kept"].inc(report.images)
        self._counters["failed"].inc(len(report.failures))
        self._counters["captions"].inc(report.captions)
        self._counters["bytes"].inc(report.bytes)
        self._rate.update(round(report.images / seconds))


def _batches(decoded: Iterable[Decoded], size: int) -> Iterator[list[Decoded]]:
    batch: list[Decoded] = []
    for one in decoded:
        batch.append(one)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _features(
    batches: Iterable[list[Decoded]], encode: EncoderGraph, keys: Sequence[str]
) -> Iterator[tuple[list[Decoded], list[np.ndarray]]]:
    """Returns each batch with the features of its images, without those that failed."""

    def work(batch: list[Decoded]) -> tuple[list[Decoded], list[np.ndarray]]:
        kept = [decoded for decoded in batch if decoded.image is not None]
        images, crops = [one.image for one in kept], [one.crops for one in kept]
        return batch, encode(images, crops, keys) if kept else []

    # While both threads are at a batch, the next one waits for them.
    return in_order(
        (encoder_graph.threads().submit(work, batch) for batch in batches),
        encoder_graph.THREADS + 1,
    )


def _failure(decoded: Decoded) -> dict[str, str]:
    row = decoded.row
    return {"image_id": row.image_id, "path": row.path, "reason": decoded.reason}
