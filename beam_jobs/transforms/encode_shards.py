"""The work on one shard: photos in, features and tokenized captions out."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import apache_beam as beam
import numpy as np
import tensorflow as tf
from apache_beam.io.filesystems import FileSystems
from apache_beam.metrics import Metrics
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils import shared
from apache_beam.utils.timestamp import MIN_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue
from ml_collections import ConfigDict

from beam_jobs import shard_files
from beam_jobs.transforms import failure_limit, image_reader, manifest, retokenize
from imcap import encoders, filesystem, records, runtime, text
from imcap.datasets import CaptionedImage
from imcap.prefetch import ahead

# Two batches at once: at the end of every layer some cores wait for the others, 7% of the time
# with ResNet50 on two cores, unless there is another batch to work on.
_CNN_THREADS = 2
# Of TensorFlow's graph optimizer. Weights, sums and all else stay float32.
_CONVOLVE_IN_BFLOAT16 = {"auto_mixed_precision_onednn_bfloat16": True}


class _Task(NamedTuple):
    """A shard whose photos are being read.

    Attributes:
      report: filled in as the work goes on.
      images: manifest rows.
      batches: the photos, read and decoded ahead.
      vocabulary: the lines of vocab.txt.
    """

    report: shard_files.Report
    images: int
    batches: Iterator[list[image_reader.Photo]]
    vocabulary: list[str]


class EncodeShard(beam.DoFn):
    """Encodes the photos of one shard, unless it is finished already.

    Takes ((split, shard), packs of rows), the vocabulary and the image_ids to leave out; yields
    the shard's report.
    """

    def __init__(self, config: ConfigDict, encoder_fingerprint: str, model: shared.Shared) -> None:
        self._config = config.to_dict()
        self._encoder_fingerprint = encoder_fingerprint
        self._shared = model
        names = ("kept", "failed", "skipped", "retokenized")
        self._counters = {n: Metrics.counter("imcap", f"images_{n}") for n in names}
        self._counters |= {n: Metrics.counter("imcap", n) for n in ("captions", "bytes")}
        self._rate = Metrics.distribution("imcap", "images_per_second")  # Of each shard.

    def setup(self) -> None:
        runtime.keep_large_blocks()
        self._config = ConfigDict(self._config)
        self._batch_size = encoders.batch_size(self._config.encoder)

    def start_bundle(self) -> None:
        self._waiting: _Task | None = None

    def process(
        self, element: tuple[tuple[str, int], Iterable[bytes]], vocabulary: list[str],
        leaked: list[str],
    ) -> Iterator[shard_files.Report]:  # fmt: skip
        (split, shard), packs = element
        left_out = frozenset(leaked)
        rows = [row for row in manifest.rows_of(packs) if row.image_id not in left_out]
        report = self._expected(split, shard, rows, vocabulary)
        finished = shard_files.read_report(self._config.records.dir, split, shard, self._num_shards)
        if finished and is_same_work(finished, report) and not self._has_mended(finished, rows):
            yield self._reuse(finished, report, rows, vocabulary)
            return
        batches = _batches(image_reader.read_ahead(rows, self._config), self._batch_size)
        task = _Task(report, len(rows), batches, vocabulary)
        # This shard's photos are being read while the one before goes through the CNN.
        before, self._waiting = self._waiting, task
        if before:
            yield self._run(before)

    @property
    def _num_shards(self) -> int:
        return self._config.records.num_shards

    def _reuse(self, finished, report, rows, vocabulary) -> shard_files.Report:
        """Takes over a finished shard; tokens of other text settings are made anew."""
        folder = self._config.records.dir
        beat = shard_files.Heartbeat(folder, report.split, report.shard).beat
        if finished.text != report.text:
            finished = self._retokenize(finished, report.text, vocabulary)
            self._counters["retokenized"].inc(finished.images)
        beat(skipped=len(rows), last=True)
        self._counters["skipped"].inc(len(rows))
        return finished

    def _retokenize(self, finished, text_fingerprint, vocabulary) -> shard_files.Report:
        folder, compression = self._config.records.dir, self._config.records.compression
        report = dataclasses.replace(finished, text=text_fingerprint)
        name = records.shard_name(report.split, report.shard, self._num_shards)
        tokenizer = self._tokenizer(vocabulary, text_fingerprint)
        with filesystem.local_copy(FileSystems.join(folder, name)) as path:
            serialized = retokenize.retokenize(records.dataset([path], compression), tokenizer)
            return shard_files.write_shard(
                folder, report, self._num_shards, serialized, compression
            )

    def _tokenizer(self, vocabulary: list[str], text_fingerprint: str) -> text.Tokenizer:
        if getattr(self, "_tokenizer_of", None) != text_fingerprint:
            self._tokenizer_of = text_fingerprint
            self._last_tokenizer = text.Tokenizer(vocabulary, self._config.text.max_length)
        return self._last_tokenizer

    def finish_bundle(self) -> Iterator[WindowedValue]:
        """Encodes the last shard, which no other one followed."""
        task, self._waiting = self._waiting, None
        if task:
            report = self._run(task)
            yield WindowedValue(report, MIN_TIMESTAMP, [GlobalWindow()])

    def _has_mended(self, report: shard_files.Report, rows: Sequence[CaptionedImage]) -> bool:
        """Tells whether a photo that failed can be read by now."""
        failed = {failure["image_id"] for failure in report.failures}
        rows = [row for row in rows if row.image_id in failed]
        again = image_reader.read_ahead(rows, self._config)
        return any(photo.image is not None for photo in again)

    def _run(self, task: _Task) -> shard_files.Report:
        report, records_config, began = task.report, self._config.records, time.monotonic()
        encode = self._shared.acquire(lambda: Encode(self._config), self._encoder_fingerprint)
        beat = shard_files.Heartbeat(records_config.dir, report.split, report.shard).beat
        serialized = self._encode(task, encode, beat)
        report = shard_files.write_shard(
            records_config.dir, report, self._num_shards, serialized, records_config.compression
        )
        beat(done=task.images, failed=len(report.failures), last=True)
        if report.failures:
            failure_limit.check(records_config.dir, records_config.max_failures, report.failures)
        self._counters["kept"].inc(report.images)
        self._counters["failed"].inc(len(report.failures))
        self._counters["captions"].inc(report.captions)
        self._counters["bytes"].inc(report.bytes)
        self._rate.update(round(report.images / (time.monotonic() - began)))
        return report

    def _expected(self, split, shard, rows, vocabulary) -> shard_files.Report:
        """Returns the report of this work before anything is done."""
        folder = self._config.dataset.dir
        manifest = [[r.image_id, records.record_path(r.path, folder), r.captions] for r in rows]
        settings = [vocabulary, self._config.text.max_length]
        return shard_files.Report(
            split=split,
            shard=shard,
            rows=records.fingerprint(manifest),
            encoder=self._encoder_fingerprint,
            text=records.fingerprint(settings),
        )

    def _encode(self, task: _Task, encode: Encode, beat: Callable[..., None]) -> Iterator[bytes]:
        """Yields the shard's records in order, and fills in the report."""
        report, limit = task.report, self._config.records.max_failures
        tokenizer = self._tokenizer(task.vocabulary, report.text)
        flip = self._config.records.flip and report.split == "train"
        done = 0
        for batch, views in _features(task.batches, encode, flip):
            kept = [photo for photo in batch if photo.image is not None]
            report.failures += [_failure(photo) for photo in batch if photo.image is None]
            report.images += len(kept)
            report.captions += sum(len(photo.row.captions) for photo in kept)
            yield from self._serialize(kept, views, tokenizer)
            done += len(batch)
            if beat(done=done, failed=len(report.failures)) and len(kept) < len(batch):
                failure_limit.check(self._config.records.dir, limit, report.failures)

    def _serialize(self, kept, views, tokenizer) -> Iterator[bytes]:
        tokens = iter(tokenizer.encode([c for photo in kept for c in photo.row.captions]))
        for index, photo in enumerate(kept):
            row = photo.row
            yield records.serialize(
                row.image_id,
                records.record_path(row.path, self._config.dataset.dir),
                [view[index] for view in views],
                row.captions,
                [next(tokens) for _ in row.captions],
            )


def is_same_work(a: shard_files.Report, b: shard_files.Report) -> bool:
    """Tells whether two reports are of the same photos and encoder."""
    return (a.rows, a.encoder) == (b.rows, b.encoder)


def _batches(read: Iterable[image_reader.Photo], size: int) -> Iterator[list[image_reader.Photo]]:
    batch: list[image_reader.Photo] = []
    for photo in read:
        batch.append(photo)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _features(
    batches: Iterable[list[image_reader.Photo]], encode: Encode, flip: bool
) -> Iterator[tuple[list[image_reader.Photo], list[np.ndarray]]]:
    """Returns each batch with its photos' features, those of bad photos left out."""

    def work(batch: list[image_reader.Photo]) -> tuple[list[image_reader.Photo], list[np.ndarray]]:
        images = [photo.image for photo in batch if photo.image is not None]
        return batch, encode(images, flip) if images else []

    # While both threads are at a batch, the next one waits for them.
    return ahead((_cnn_threads().submit(work, batch) for batch in batches), _CNN_THREADS + 1)


@functools.cache
def _cnn_threads() -> ThreadPoolExecutor:
    """Returns the threads that all shards of this process share."""
    return ThreadPoolExecutor(_CNN_THREADS, "cnn")


def _failure(photo: image_reader.Photo) -> dict[str, str]:
    return {"image_id": photo.row.image_id, "path": photo.row.path, "reason": photo.reason}


class Encode:
    """The encoder as one graph, shared by all threads of a worker."""

    def __init__(self, config: ConfigDict, encoder: encoders.Encoder | None = None) -> None:
        """`encoder`: what `config.encoder` describes, where it is built already."""
        encoder = encoder or encoders.build(config.encoder)
        size, dtype = config.encoder.image_size, tf.as_dtype(config.records.dtype)
        self._batch_size = encoders.batch_size(config.encoder)
        if config.encoder.compute_dtype == "bfloat16":
            # Of the whole process, in which nothing else computes.
            tf.config.optimizer.set_experimental_options(_CONVOLVE_IN_BFLOAT16)
        self._graph = tf.function(
            lambda batch: tf.cast(encoder(batch), dtype),
            input_signature=[tf.TensorSpec([None, size, size, 3], tf.float32)],
        )

    def __call__(self, batch: Sequence[tf.Tensor], flip: bool) -> list[np.ndarray]:
        """Photos float32 [size, size, 3] to their features and, where asked, those of their mirror
        images: [photos, positions, channels] each."""
        photos = tf.stack(batch)
        views = [photos, tf.reverse(photos, [2])] if flip else [photos]
        return [self._encode(view) for view in views]

    def _encode(self, photos: tf.Tensor) -> np.ndarray:
        parts, start = [], 0
        for size in part_sizes(len(photos), self._batch_size):
            part = photos[start : start + size]
            # A batch of one takes other kernels, which round differently.
            part = tf.repeat(part, 2, axis=0) if size == 1 else part
            parts.append(self._graph(part).numpy()[:size])
            start += size
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


def part_sizes(count: int, batch_size: int) -> list[int]:
    """Returns sizes that add up to `count`: full batches, and powers of two for the rest.

    The libraries below compile their kernels for each size of batch: 0.6 s for a new one with
    ResNet50 on a CPU, and shards end in every size.
    """
    rest = count % batch_size
    powers = [1 << bit for bit in reversed(range(rest.bit_length())) if rest >> bit & 1]
    return [batch_size] * (count // batch_size) + powers
