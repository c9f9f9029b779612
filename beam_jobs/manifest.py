"""The manifest on its way to the shards: rows packed by shard, and photos that leak left out."""

from __future__ import annotations

import collections
import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MIN_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from imcap import records
from imcap.datasets import CaptionedImage

ShardKey = tuple[str, int]
_ROWS_PER_PACK = 512
_ROWS_HELD = 100_000  # Over all shards of a worker.
_DIGEST_BYTES = 8


class PackByShard(beam.DoFn):
    """CaptionedImage to ((split, shard), pack): few compressed elements instead of many rows, so
    that a billion rows are a small shuffle and a runner on one machine can hold them."""

    def __init__(self, num_shards: int) -> None:
        self._num_shards = num_shards

    def start_bundle(self) -> None:
        self._rows: dict[ShardKey, list[CaptionedImage]] = collections.defaultdict(list)
        self._held = 0

    def process(self, row: CaptionedImage) -> Iterator[tuple[ShardKey, bytes]]:
        key = row.split, records.shard_of(row.image_id, self._num_shards)
        self._rows[key].append(row)
        self._held += 1
        if len(self._rows[key]) == _ROWS_PER_PACK:
            self._held -= _ROWS_PER_PACK
            yield key, pack(self._rows.pop(key))
        elif self._held >= _ROWS_HELD:
            yield from self._flush()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        for element in self._flush():
            yield WindowedValue(element, MIN_TIMESTAMP, [GlobalWindow()])

    def _flush(self) -> Iterator[tuple[ShardKey, bytes]]:
        for key, rows in self._rows.items():
            yield key, pack(rows)
        self._rows.clear()
        self._held = 0


def pack(rows: Iterable[CaptionedImage]) -> bytes:
    """Returns rows as compressed JSON."""
    values = [[row.image_id, row.path, row.captions, row.split] for row in rows]
    return zlib.compress(json.dumps(values).encode("ascii"), 1)


def unpack(packs: Iterable[bytes]) -> list[CaptionedImage]:
    """Returns the rows of all packs, sorted by image_id."""
    values = [value for packed in packs for value in json.loads(zlib.decompress(packed))]
    rows = [CaptionedImage(image_id, path, tuple(c), split) for image_id, path, c, split in values]
    return sorted(rows, key=lambda row: row.image_id)


class FindDuplicates(beam.PTransform):
    """CaptionedImage to photos that are there twice, byte by byte.

    Gives one element per group of equal photos: the [split, image_id] pairs of the group, sorted.
    Photos that cannot be read have no equal.
    """

    def expand(self, rows: beam.PCollection[CaptionedImage]) -> beam.PCollection:
        return (
            rows
            | "HashContent" >> beam.ParDo(_HashContent())
            | "GroupByDigest" >> beam.GroupByKey()
            | "Compare" >> beam.FlatMap(_equal_photos)
        )


class _HashContent(beam.DoFn):
    """Rows to (first byte of the digest, packed [digest, split, image_id] entries)."""

    def start_bundle(self) -> None:
        self._entries: dict[int, list[list[str]]] = collections.defaultdict(list)

    def process(self, row: CaptionedImage) -> Iterator[tuple[int, bytes]]:
        digest = _content_digest(row.path)
        if digest is None:
            return
        bucket = digest[0]
        self._entries[bucket].append([digest.hex(), row.split, row.image_id])
        if len(self._entries[bucket]) == _ROWS_PER_PACK:
            yield bucket, _compress(self._entries.pop(bucket))

    def finish_bundle(self) -> Iterator[WindowedValue]:
        for bucket, entries in self._entries.items():
            element = bucket, _compress(entries)
            yield WindowedValue(element, MIN_TIMESTAMP, [GlobalWindow()])


def _content_digest(path: str) -> bytes | None:
    try:
        if "://" in path:
            with FileSystems.open(path) as file:
                content = file.read()
        else:
            with open(path, "rb") as file:
                content = file.read()
    except OSError:
        return None
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).digest()


def _compress(entries: list[list[str]]) -> bytes:
    return zlib.compress(json.dumps(entries).encode("ascii"), 1)


def _equal_photos(element: tuple[int, Iterable[bytes]]) -> Iterator[list[list[str]]]:
    groups: dict[str, list[list[str]]] = collections.defaultdict(list)
    for packed in element[1]:
        for digest, split, image_id in json.loads(zlib.decompress(packed)):
            groups[digest].append([split, image_id])
    for digest in sorted(groups):
        if len(groups[digest]) > 1:
            yield sorted(groups[digest])


def leaks(group: list[list[str]]) -> Iterator[str]:
    """Yields the image_ids of a group that have to go so that no photo is in two splits.

    The training split loses them first, then dev: scores on what is left stay honest.
    """
    splits = {split for split, _ in group}
    if len(splits) == 1:
        return
    keep = min(splits, key=lambda split: (_KEEPS.get(split, 0), split))
    yield from (image_id for split, image_id in group if split != keep)


_KEEPS = {"test": 1, "dev": 2, "train": 3}  # The lowest keeps a shared photo; others come first.
