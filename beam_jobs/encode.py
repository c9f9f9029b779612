"""The work on one shard: photos in, features and tokenized captions out."""

from __future__ import annotations

import functools
import hashlib
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

from beam_jobs import shard_files
from beam_jobs.ahead import ahead
from imcap import encoders, images, records, text
from imcap.datasets import CaptionedImage
from imcap.input_pipeline import NO_AUTOTUNE


class Photo(NamedTuple):
    """A manifest row with its decoded photo, or with the reason why there is none."""

    row: CaptionedImage
    image: np.ndarray | None  # float32 [image_size, image_size, 3]
    content: str  # Digest of the file's bytes.
    reason: str


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

    Takes ((split, shard), rows) and the vocabulary; yields the shard's report.
    """

    def __init__(self, config: ConfigDict, encoder_fingerprint: str, model: shared.Shared) -> None:
        self._config = config.to_dict()
        self._encoder_fingerprint = encoder_fingerprint
        self._shared = model
        self._counters = {
            name: Metrics.counter("imcap", f"images_{name}")
            for name in ("kept", "failed", "skipped")
        }

    def setup(self) -> None:
        self._config = ConfigDict(self._config)
        self._batch_size = self._config.encoder.batch_size

    def start_bundle(self) -> None:
        self._waiting: _Task | None = None

    def process(
        self, element: tuple[tuple[str, int], Iterable[CaptionedImage]], vocabulary: list[str]
    ) -> Iterator[shard_files.Report]:
        (split, shard), rows = element
        rows = sorted(rows, key=lambda row: row.image_id)
        report = self._expected(split, shard, rows, vocabulary)
        folder, num_shards = self._config.records.dir, self._config.records.num_shards
        finished = shard_files.read_report(folder, split, shard, num_shards)
        if finished and is_same_work(finished, report) and not self._has_mended(finished, rows):
            shard_files.Heartbeat(folder, split, shard).beat(skipped=len(rows), last=True)
            self._counters["skipped"].inc(len(rows))
            yield finished
            return
        batches = ahead(_batches(read_photos(rows, self._config), self._batch_size), 2)
        task = _Task(report, len(rows), batches, vocabulary)
        # This shard's photos are being read while the one before goes through the CNN.
        before, self._waiting = self._waiting, task
        if before:
            yield self._run(before)

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
        report, folder = task.report, self._config.records.dir
        tools = self._shared.acquire(
            lambda: _Tools(self._config, task.vocabulary), self._encoder_fingerprint + report.text
        )
        beat = shard_files.Heartbeat(folder, report.split, report.shard).beat
        # The CNN works in a thread of its own while this one writes.
        serialized = ahead(self._encode(task, tools, beat), 2 * self._batch_size)
        num_shards = self._config.records.num_shards
        report = shard_files.write_shard(folder, report, num_shards, serialized)
        beat(done=task.images, failed=len(report.failures), last=True)
        self._counters["kept"].inc(report.images)
        self._counters["failed"].inc(len(report.failures))
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

    def _encode(self, task: _Task, tools: _Tools, beat: Callable[..., None]) -> Iterator[bytes]:
        """Yields the shard's records in order, and fills in the report."""
        report = task.report
        flip = self._config.records.flip and report.split == "train"
        done = 0
        for batch in task.batches:
            kept = [photo for photo in batch if photo.image is not None]
            report.failures += [_failure(photo) for photo in batch if photo.image is None]
            report.contents += [[photo.content, photo.row.image_id] for photo in kept]
            report.images += len(kept)
            report.captions += sum(len(photo.row.captions) for photo in kept)
            if kept:
                views = tools.encode(np.stack([photo.image for photo in kept]), flip)
                yield from self._serialize(kept, views, tools.tokenizer)
            done += len(batch)
            beat(done=done, failed=len(report.failures))

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
    """Tells whether two reports are of the same photos, encoder and text settings."""
    return (a.rows, a.encoder, a.text) == (b.rows, b.encoder, b.text)


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
            image_bytes, image = next(iterator)
        except (tf.errors.OpError, UnicodeDecodeError) as error:
            yield Photo(row, None, "", images.reason(error))
        else:
            content = hashlib.blake2b(image_bytes.numpy(), digest_size=16).hexdigest()
            yield Photo(row, image.numpy(), content, "")


@functools.cache
def _loader(image_size: int, max_pixels: int) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """Returns path -> (file's bytes, image), traced once: a shard may take less than tracing."""

    @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
    def load(path: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image_bytes = _read(path)
        return image_bytes, images.load(image_bytes, image_size, max_pixels)

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


class _Tools:
    """The encoder as one graph and the tokenizer, shared by all threads of a worker."""

    def __init__(self, config: ConfigDict, vocabulary: list[str]) -> None:
        self.tokenizer = text.Tokenizer(vocabulary, config.text.max_length)
        self._encoder = encoders.build(config.encoder)
        size = config.encoder.image_size
        dtype = tf.as_dtype(config.records.dtype)
        spec = tf.TensorSpec([None, size, size, 3], tf.float32)
        self._graph = tf.function(
            lambda batch: tf.cast(self._encoder(batch), dtype), input_signature=[spec]
        )

    def encode(self, batch: np.ndarray, flip: bool) -> list[np.ndarray]:
        """float32 [batch, size, size, 3] to features of the photos and of their mirror images,
        [batch, positions, channels] each."""
        views = [self._graph(batch).numpy()]
        if flip:
            views.append(self._graph(np.ascontiguousarray(batch[:, :, ::-1])).numpy())
        return views
