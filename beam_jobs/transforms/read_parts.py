"""A data set's parts read and grouped by Beam: no process sees all rows, however many there are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam

from beam_jobs.transforms import duplicates, manifest
from imcap import datasets, filesystem, hashing
from imcap.datasets import CaptionedImage, Problems
from imcap.datasets.parted import Entry, Part, PartedReader, merge

# Images are merged one group at a time; the rows of a group are about this much of the source, so
# that few are in memory and packs are full.
_GROUP_BYTES = 500_000


class ReadParts(beam.PTransform):
    """Reads the parts of a data set with many workers.

    One element to `rows`, one for each image, and to `problems`, the kinds of problems found:
    (kind, count, place of the first). With a limit the rows are the first of each split in the
    source's order; one worker holds the places of so many, but not the rows.
    """

    def __init__(
        self, dataset: dict[str, Any], reader: PartedReader, limit: int = 0, *, digest: bool = False
    ) -> None:
        """Takes what names the data set.

        Args:
          dataset: a config's `dataset` part.
          reader: the one that it names.
          limit: images of each split; 0: all.
          digest: also read the images within the parts, each part in sequence, for their digests.
        """
        super().__init__()
        self._dataset, self._limit, self._digest = dataset, limit, digest
        self._groups = reader.size() // _GROUP_BYTES + 1

    def expand(self, begin: beam.PCollection) -> dict[str, beam.PCollection]:
        read = (
            begin
            | "Parts" >> beam.FlatMap(_numbered_parts, self._dataset)
            | "SpreadParts" >> beam.Reshuffle()
            | "ReadPart"
            >> beam.ParDo(_ReadPart(self._dataset, self._groups, self._digest)).with_outputs(
                "problems", main="to"
            )
        )
        grouped = (
            read.to
            | "PackEntries" >> beam.ParDo(manifest.PackByKey())
            | "GroupEntries" >> beam.GroupByKey()
        )
        merge_group = _merge_packed if self._limit else _merge
        merged = grouped | "Merge" >> beam.FlatMap(merge_group).with_outputs(
            "problems", main="rows"
        )
        rows = merged.rows | "Limit" >> _Limit(self._limit) if self._limit else merged.rows
        return {"rows": rows, "problems": (read.problems, merged.problems) | beam.Flatten()}


class _Limit(beam.PTransform):
    """Packs of [place, row] to the rows with the first places of each split."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def expand(self, packs: beam.PCollection[bytes]) -> beam.PCollection[CaptionedImage]:
        last = (
            packs
            | "Places" >> beam.FlatMap(_places)
            | "First" >> beam.combiners.Top.SmallestPerKey(self._limit)
            | "Last" >> beam.MapTuple(lambda split, places: (split, max(places)))
        )
        return packs | "Take" >> beam.FlatMap(_rows_up_to, beam.pvalue.AsDict(last))


def _numbered_parts(_: None, dataset: dict[str, Any]) -> Iterator[tuple[int, Part]]:
    return enumerate(_build_reader(dataset).parts())


def _build_reader(dataset: dict[str, Any]) -> PartedReader:
    reader = datasets.build_reader(dataset)
    assert isinstance(reader, PartedReader)  # Others are not read by this transform.
    return reader


class _ReadPart(beam.DoFn):
    """A numbered part to (group, [part, row, where, *entry]) pairs."""

    def __init__(self, dataset: dict[str, Any], groups: int, digest: bool) -> None:
        self._dataset, self._groups, self._digest = dataset, groups, digest

    def setup(self) -> None:
        self._reader = _build_reader(self._dataset)

    def process(self, element: tuple[int, Part]) -> Iterator[Any]:
        number, part = element
        problems = Problems()
        entries = self._reader.entries(Part(*part), problems)
        if self._digest:
            entries = _with_digests(entries, Part(*part).path)
        for index, (where, entry) in enumerate(entries):
            yield (
                hashing.stable_number(entry.image_id, self._groups),
                [number, index, where, *entry],
            )
        yield from _tagged(problems)


def _with_digests(entries: Iterable[tuple[str, Entry]], path: str) -> Iterator[tuple[str, Entry]]:
    """Adds the digests of images within the file `path` that are used; image files are read later,
    once."""
    with filesystem.InSequence(path) as images:
        for where, entry in entries:
            if filesystem.embedded_length(entry.path) is not None and not entry.exclusions:
                digest = duplicates.digest_of(images.read, entry.path)
                entry = entry._replace(digest=digest)
            yield where, entry


def _sorted_entries(packs: Iterable[bytes]) -> list[list[Any]]:
    """Returns the entries in the source's order, whatever order they came in."""
    return sorted(entry for pack in packs for entry in manifest.decompress(pack))


def _merge(group: tuple[int, Iterable[bytes]]) -> Iterator[CaptionedImage | Any]:
    """Merges the entries of each image."""
    problems = Problems()
    rows = ((where, Entry(*entry)) for _, _, where, *entry in _sorted_entries(group[1]))
    for image in merge(rows, problems):
        manifest.IMAGES_READ.inc()
        yield image
    yield from _tagged(problems)


def _merge_packed(group: tuple[int, Iterable[bytes]]) -> Iterator[bytes | Any]:
    """Merges the entries of each image; yields packs of [place, row].

    Packed, as all rows wait until it is known which are the first.
    """
    entries, problems = _sorted_entries(group[1]), Problems()
    rows = [((part, index), where, Entry(*entry)) for part, index, where, *entry in entries]
    places: dict[str, tuple[int, int]] = {}
    for place, _, entry in rows:
        if entry.path and not entry.exclusions:
            places.setdefault(entry.image_id, place)
    images = merge(((where, entry) for _, where, entry in rows), problems)
    placed = (
        [places[row.image_id], [row.image_id, row.path, row.captions, row.split, row.digest]]
        for row in images
    )
    yield from map(manifest.compress, manifest.batched(placed, manifest.PACK_SIZE))
    yield from _tagged(problems)


def _placed_rows(pack: bytes) -> Iterator[tuple[tuple[int, int], CaptionedImage]]:
    for place, (image_id, path, captions, *others) in manifest.decompress(pack):
        yield tuple(place), CaptionedImage(image_id, path, tuple(captions), *others)


def _places(pack: bytes) -> Iterator[tuple[str, tuple[int, int]]]:
    return ((row.split, place) for place, row in _placed_rows(pack))


def _rows_up_to(pack: bytes, last: dict[str, tuple[int, int]]) -> Iterator[CaptionedImage]:
    for place, row in _placed_rows(pack):
        if place <= last[row.split]:
            manifest.IMAGES_READ.inc()
            yield row


def _tagged(problems: Problems) -> Iterator[beam.pvalue.TaggedOutput]:
    for kind, count in problems.counts.items():
        yield beam.pvalue.TaggedOutput("problems", (kind, count, problems.first[kind]))
