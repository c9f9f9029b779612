"""A table's rows read and grouped by Beam: no process sees the whole table, however long it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
from ml_collections import ConfigDict

from beam_jobs.transforms import manifest
from imcap import records
from imcap.datasets import CaptionedImage, Problems, table
from imcap.datasets.table_files import Part

# Photos are put together one group at a time; the rows of a group are about this much of the
# table, so that few are in memory and packs are full.
_GROUP_BYTES = 500_000


class ReadTable(beam.PTransform):
    """One element to a table's rows, one for each photo (`rows`), and to the kinds of problems
    found (`problems`): (kind, count, first example). The table is read in parts side by side."""

    def __init__(self, dataset: dict[str, Any]) -> None:
        """`dataset`: a config's `dataset` part."""
        super().__init__()
        self._dataset = dataset
        self._groups = table.Table(ConfigDict(dataset)).size() // _GROUP_BYTES + 1

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
    return enumerate(table.Table(ConfigDict(dataset)).parts())


class _ReadPart(beam.DoFn):
    """A numbered part to (group, [part, row, where, *entry]) pairs."""

    def __init__(self, dataset: dict[str, Any], groups: int) -> None:
        self._dataset, self._groups = dataset, groups

    def setup(self) -> None:
        self._table = table.Table(ConfigDict(self._dataset))

    def process(self, element: tuple[int, Part]) -> Iterator[Any]:
        number, part = element
        problems = Problems()
        entries = self._table.entries(Part(*part), problems)
        for index, (where, entry) in enumerate(entries):
            yield (
                records.stable_bucket(entry.image_id, self._groups),
                [number, index, where, *entry],
            )
        yield from _tagged(problems)


def _merge(group: tuple[int, Iterable[bytes]]) -> Iterator[CaptionedImage | Any]:
    """Puts the entries of each photo together, in the table's order whatever order they came in."""
    entries = sorted(entry for pack in group[1] for entry in manifest.decompress(pack))
    problems = Problems()
    rows = ((where, table.Entry(*entry)) for _, _, where, *entry in entries)
    for image in table.merge(rows, problems):
        manifest.IMAGES_READ.inc()
        yield image
    yield from _tagged(problems)


def _tagged(problems: Problems) -> Iterator[beam.pvalue.TaggedOutput]:
    for kind, count in problems.counts.items():
        yield beam.pvalue.TaggedOutput("problems", (kind, count, problems.examples[kind]))
