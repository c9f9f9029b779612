"""The work on one shard: photos in, features and tokenized captions out."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
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

from beam_jobs import failure_limit, manifest, retokenize, shard_files
from beam_jobs.ahead import ahead
from imcap import encoders, images, records, text
from imcap.datasets import CaptionedImage
from imcap.input_pipeline import NO_AUTOTUNE


class Photo(NamedTuple):
    """A manifest row with its decoded photo, or with the reason why there is none."""

    row: CaptionedImage
    image: np.ndarray | None  # float32 [image_size, image_size, 3]
    reason: str = ""


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
    batches: Iterator[list[Photo]]
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

    def setup(self) -> None:
        self._config = ConfigDict(self._config)
        self._batch_size = self._config.encoder.batch_size

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
        batches = ahead(_batches(read_photos(rows, self._config), self._batch_size), 2)
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
        dataset = records.dataset([FileSystems.join(folder, name)], compression)
        tokenizer = self._tokenizer(vocabulary, text_fingerprint)
        serialized = retokenize.retokenize(dataset, tokenizer)
        return shard_files.write_shard(folder, report, self._num_shards, serialized, compression)

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
        return bool(rows) and any(p.image is not None for p in read_photos(rows, self._config))

    def _run(self, task: _Task) -> shard_files.Report:
        report, records_config = task.report, self._config.records
        encode = self._shared.acquire(lambda: Encode(self._config), self._encoder_fingerprint)
        beat = shard_files.Heartbeat(records_config.dir, report.split, report.shard).beat
        # The CNN works in a thread of its own while this one writes.
        serialized = ahead(self._encode(task, encode, beat), 2 * self._batch_size)
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
        return report

    def _expected(self, split, shard, rows, vocabulary) -> shard_files.Report:
        """Returns the report of this work before anything is done."""
        manifest = [[r.image_id, record_path(r.path, self._config), r.captions] for r in rows]
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
        for batch in task.batches:
            kept = [photo for photo in batch if photo.image is not None]
            report.failures += [_failure(photo) for photo in batch if photo.image is None]
            report.images += len(kept)
            report.captions += sum(len(photo.row.captions) for photo in kept)
            if kept:
                views = encode(np.stack([photo.image for photo in kept]), flip)
                yield from self._serialize(kept, views, tokenizer)
            done += len(batch)
            if beat(done=done, failed=len(report.failures)) and len(kept) < len(batch):
                failure_limit.check(self._config.records.dir, limit, report.failures)

    def _serialize(self, photos, views, tokenizer) -> Iterator[bytes]:
        tokens = iter(tokenizer.tokenize_all([c for photo in photos for c in photo.row.captions]))
        for index, photo in enumerate(photos):
            row = photo.row
            yield records.serialize(
                row.image_id,
                record_path(row.path, self._config),
                [view[index] for view in views],
                row.captions,
                [next(tokens) for _ in row.captions],
            )


def is_same_work(a: shard_files.Report, b: shard_files.Report) -> bool:
    """Tells whether two reports are of the same photos and encoder."""
    return (a.rows, a.encoder) == (b.rows, b.encoder)


def record_path(path: str, config: ConfigDict) -> str:
    """Returns the path that a record keeps: below the data set's folder where it lies there,
    so that the folder may move without a change of the records."""
    prefix = os.path.join(config.dataset.dir, "") if config.dataset.dir else ""
    return path.removeprefix(prefix)


def read_photos(rows: Sequence[CaptionedImage], config: ConfigDict) -> Iterator[Photo]:
    """Reads and decodes photos in the background, in order; yields the bad ones with a reason."""
    load = _loader(config.encoder.image_size, config.encoder.max_pixels)
    paths = [row.path.encode("utf-8", "surrogateescape") for row in rows]
    dataset = tf.data.Dataset.from_tensor_slices(paths)
    dataset = dataset.map(load, num_parallel_calls=os.cpu_count(), deterministic=True)
    iterator = iter(dataset.prefetch(2 * config.encoder.batch_size).with_options(NO_AUTOTUNE))
    for row in rows:
        # An element that fails raises when its turn comes, and the next call goes on behind it.
        try:
            image = next(iterator).numpy()
        except (tf.errors.OpError, UnicodeDecodeError) as error:
            yield Photo(row, None, images.reason(error))
        else:
            yield Photo(row, image)


@functools.cache
def _loader(image_size: int, max_pixels: int) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns path -> image, traced once: a shard may take less time than tracing."""

    @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
    def load(path: tf.Tensor) -> tf.Tensor:
        return images.load(_read(path), image_size, max_pixels)

    return load


def _read(path: tf.Tensor) -> tf.Tensor:
    """Reads a file in the graph; one with a scheme (gs://, s3://, hdfs://) through Beam."""
    is_remote = tf.strings.regex_full_match(path, r"[a-z0-9]+://.*")
    return tf.cond(
        is_remote,
        lambda: tf.ensure_shape(tf.numpy_function(_read_remote, [path], tf.string), []),
        lambda: tf.io.read_file(path),
    )


def _read_remote(path: bytes) -> bytes:
    with FileSystems.open(path.decode()) as file:
        return file.read()


def _batches(photos: Iterable[Photo], size: int) -> Iterator[list[Photo]]:
    batch: list[Photo] = []
    for photo in photos:
        batch.append(photo)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _failure(photo: Photo) -> dict[str, str]:
    return {"image_id": photo.row.image_id, "path": photo.row.path, "reason": photo.reason}


class Encode:
    """The encoder as one graph, shared by all threads of a worker."""

    def __init__(self, config: ConfigDict) -> None:
        self._encoder = encoders.build(config.encoder)
        size = config.encoder.image_size
        dtype = tf.as_dtype(config.records.dtype)
        spec = tf.TensorSpec([None, size, size, 3], tf.float32)
        self._graph = tf.function(
            lambda batch: tf.cast(self._encoder(batch), dtype), input_signature=[spec]
        )

    def __call__(self, batch: np.ndarray, flip: bool) -> list[np.ndarray]:
        """float32 [batch, size, size, 3] to features of the photos and of their mirror images,
        [batch, positions, channels] each."""
        views = [self._graph(batch).numpy()]
        if flip:
            views.append(self._graph(np.ascontiguousarray(batch[:, :, ::-1])).numpy())
        return views
