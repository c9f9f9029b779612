"""The manifest, one row (`CaptionedImage`) for each image: packed, spread over workers, grouped
by shard.

A pack is a compressed list of rows: it makes a shuffle of a billion rows small, and takes little
memory on a runner that keeps everything in memory.
"""

from __future__ import annotations

import collections
import itertools
import json
import lzma
from collections.abc import Hashable, Iterable, Iterator
from typing import Any, TypeVar

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MIN_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from imcap import datasets, hashing
from imcap.datasets import CaptionedImage

T = TypeVar("T")

PACK_SIZE = 512  # Elements in a pack.
IMAGES_READ = Metrics.counter("imcap", "images_read")
# Half of zlib's size, at 2 us a row.
_LZMA = [{"id": lzma.FILTER_LZMA2, "preset": 0}]
_MAX_UNPACKED = 50_000  # Elements that a worker keeps until their packs are full.


class ReadManifest(beam.PTransform):
    """One element to a data set's rows (`rows`), spread over the workers, and to the kinds of
    problems found (`problems`): (kind, count, place of the first)."""

    def __init__(self, dataset: dict[str, Any], limit: int = 0) -> None:
        """`dataset`: a config's `dataset` part; `limit`: images of each split, 0: all."""
        super().__init__()
        self._dataset, self._limit = dataset, limit

    def expand(self, begin: beam.PCollection) -> dict[str, beam.PCollection]:
        found = begin | "Read" >> beam.FlatMap(
            lambda _, dataset, limit: read_packs(dataset, limit), self._dataset, self._limit
        ).with_outputs("problems", main="packs")
        rows = found.packs | "Spread" >> beam.Reshuffle() | "Unpack" >> beam.FlatMap(unpack_rows)
        return {"rows": rows, "problems": found.problems}


def read_packs(
    dataset: dict[str, Any], limit: int = 0
) -> Iterator[bytes | beam.pvalue.TaggedOutput]:
    """Yields packs of a data set's rows, and at the end the kinds of problems found."""
    problems = datasets.Problems()
    rows = limited(datasets.build_reader(dataset).read(problems), limit)
    for pack in batched(rows, PACK_SIZE):
        IMAGES_READ.inc(len(pack))
        yield pack_rows(pack)
    for kind, count in problems.counts.items():
        yield beam.pvalue.TaggedOutput("problems", (kind, count, problems.first[kind]))


def batched(values: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yields lists of `size` values; the last one may be shorter."""
    values = iter(values)
    while batch := list(itertools.islice(values, size)):
        yield batch


def limited(rows: Iterable[CaptionedImage], limit: int) -> Iterator[CaptionedImage]:
    """Yields the first `limit` rows of each split; 0: all."""
    seen: collections.Counter[str] = collections.Counter()
    for row in rows:
        seen[row.split] += 1
        if not limit or seen[row.split] <= limit:
            yield row


def pack_rows(rows: Iterable[CaptionedImage]) -> bytes:
    """Returns rows as one pack."""
    return compress([[row.image_id, row.path, row.captions, row.split] for row in rows])


def unpack_rows(pack: bytes) -> Iterator[CaptionedImage]:
    """Yields a pack's rows."""
    for image_id, path, captions, split in decompress(pack):
        yield CaptionedImage(image_id, path, tuple(captions), split)


def compress(values: list) -> bytes:
    """Returns JSON values as one pack."""
    return _compress([json.dumps(value) for value in values])


def _compress(texts: list[str]) -> bytes:
    return lzma.compress(f"[{','.join(texts)}]".encode("ascii"), lzma.FORMAT_RAW, filters=_LZMA)


def decompress(pack: bytes) -> list:
    """Returns what `compress` was given."""
    return json.loads(lzma.decompress(pack, lzma.FORMAT_RAW, filters=_LZMA))


class PackByKey(beam.DoFn):
    """(key, JSON value) pairs to (key, pack of values) pairs."""

    def start_bundle(self) -> None:
        self._values: dict[Hashable, list[str]] = collections.defaultdict(list)
        self._num_unpacked = 0

    def process(self, element: tuple[Hashable, Any]) -> Iterator[tuple[Hashable, bytes]]:
        key, value = element
        self._values[key].append(json.dumps(value))  # A third of what the value itself takes.
        self._num_unpacked += 1
        if len(self._values[key]) == PACK_SIZE:
            self._num_unpacked -= PACK_SIZE
            yield key, _compress(self._values.pop(key))
        elif self._num_unpacked >= _MAX_UNPACKED:
            yield from self._flush()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        for element in self._flush():
            yield WindowedValue(element, MIN_TIMESTAMP, [GlobalWindow()])

    def _flush(self) -> list[tuple[Hashable, bytes]]:
        packs = [(key, _compress(texts)) for key, texts in self._values.items()]
        self._values.clear()
        self._num_unpacked = 0
        return packs


class GroupByShard(beam.PTransform):
    """Rows to ((split, shard), packs), without the images to leave out.

    A worker sees those of one shard at a time.
    """

    def __init__(
        self, num_shards: int, left_out: beam.PCollection[tuple[str, str]] | None = None
    ) -> None:
        """`left_out`: (split, image_id) of the images to leave out; None: all are kept."""
        super().__init__()
        self._num_shards, self._left_out = num_shards, left_out

    def expand(self, rows: beam.PCollection[CaptionedImage]) -> beam.PCollection:
        packs = (
            rows
            | "Key" >> beam.Map(_shard_key, self._num_shards)
            | "Pack" >> beam.ParDo(PackByKey())
        )
        if self._left_out is None:
            return packs | "Group" >> beam.GroupByKey()
        left_out = (
            self._left_out
            | "KeyLeftOut" >> beam.Map(_left_out_key, self._num_shards)
            | "PackLeftOut" >> beam.ParDo(PackByKey())
        )
        return (
            {"rows": packs, "left_out": left_out}
            | "Group" >> beam.CoGroupByKey()
            | "LeaveOut" >> beam.MapTuple(_leave_out)
        )


def _shard_key(row: CaptionedImage, num_shards: int) -> tuple[tuple[str, int], list]:
    key = row.split, hashing.stable_number(row.image_id, num_shards)
    return key, [row.image_id, row.path, row.captions, row.split]


def _left_out_key(image: tuple[str, str], num_shards: int) -> tuple[tuple[str, int], str]:
    split, image_id = image
    return (split, hashing.stable_number(image_id, num_shards)), image_id


def _leave_out(key: tuple[str, int], found: dict[str, list[bytes]]) -> tuple[tuple, list[bytes]]:
    left_out = {image_id for pack in found["left_out"] for image_id in decompress(pack)}
    if not left_out:
        return key, found["rows"]
    rows = (row for pack in found["rows"] for row in decompress(pack) if row[0] not in left_out)
    return key, [compress(batch) for batch in batched(rows, PACK_SIZE)]


def rows_of(packs: Iterable[bytes]) -> list[CaptionedImage]:
    """Returns the rows of a shard's packs, sorted by image_id."""
    rows = [row for pack in packs for row in unpack_rows(pack)]
    return sorted(rows, key=lambda row: row.image_id)
