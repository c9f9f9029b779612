"""A data set's parts read and grouped by Beam: no process sees all rows, however many there are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam

from beam_jobs.transforms import manifest
from imcap import datasets, hashing
from imcap.datasets import CaptionedImage, Problems
from imcap.datasets.parted import Entry, Part, PartedReader, merge

# Images are merged one group at a time; the rows of a group are about this much of the source, so
# that few are in memory and packs are full.
_GROUP_BYTES = 500_000


class ReadParts(beam.PTransform):
    """Reads the parts of a data set with many workers.

    One element to `rows`, one for each image, and to `problems`, the kinds of problems found:
    (kind, count, place of the first).
    """

    def __init__(self, dataset: dict[str, Any], reader: PartedReader) -> None:
        """`dataset`: a config's `dataset` part; `reader`: the one that it names."""
        super().__init__()
        self._dataset = dataset
        self._groups = reader.size() // _GROUP_BYTES + 1

    def expand(self, begin: beam.PCollection) -> dict[str, beam.PCollection]:
        read = (
            begin
            | "Parts" >> beam.FlatMap(_numbered_parts, self._dataset)
            | "SpreadParts" >> beam.Reshuffle()
            | "ReadPart"
            >> beam.ParDo(_ReadPart(self._dataset, self._groups)).with_outputs(
                "problems", main="to"
            )
        )
        merged = (
            read.to
            | "PackEntries" >> beam.ParDo(manifest.PackByKey())
            | "GroupEntries" >> beam.GroupByKey()
            | "Merge" >> beam.FlatMap(_merge).with_outputs("problems", main="rows")
        )
        problems = (read.problems, merged.problems) | beam.Flatten()
        return {"rows": merged.rows, "problems": problems}


def _numbered_parts(_: None, dataset: dict[str, Any]) -> Iterator[tuple[int, Part]]:
    return enumerate(_build_reader(dataset).parts())


def _build_reader(dataset: dict[str, Any]) -> PartedReader:
    reader = datasets.build_reader(dataset)
    assert isinstance(reader, PartedReader)  # Others are not read by this transform.
    return reader


class _ReadPart(beam.DoFn):
    """A numbered part to (group, [part, row, where, *entry]) pairs."""

    def __init__(self, dataset: dict[str, Any], groups: int) -> None:
        self._dataset, self._groups = dataset, groups

    def setup(self) -> None:
        self._reader = _build_reader(self._dataset)

    def process(self, element: tuple[int, Part]) -> Iterator[Any]:
        number, part = element
        problems = Problems()
        entries = self._reader.entries(Part(*part), problems)
        for index, (where, entry) in enumerate(entries):
            yield (
                hashing.stable_number(entry.image_id, self._groups),
                [number, index, where, *entry],
            )
        yield from _tagged(problems)


def _merge(group: tuple[int, Iterable[bytes]]) -> Iterator[CaptionedImage | Any]:
    """Merges the entries of each image in the source's order, whatever order they came in."""
    entries = sorted(entry for pack in group[1] for entry in manifest.decompress(pack))
    problems = Problems()
    rows = ((where, Entry(*entry)) for _, _, where, *entry in entries)
    for image in merge(rows, problems):
        manifest.IMAGES_READ.inc()
        yield image
    yield from _tagged(problems)


def _tagged(problems: Problems) -> Iterator[beam.pvalue.TaggedOutput]:
    for kind, count in problems.counts.items():
        yield beam.pvalue.TaggedOutput("problems", (kind, count, problems.first[kind]))
