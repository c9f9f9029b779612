"""The images that files, folders and globs stand for, as numbered parts of the listing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import apache_beam as beam

from beam_jobs.transforms import manifest
from imcap.datasets import CaptionedImage
from imcap.serving import caption_files


class ListImages(beam.PTransform):
    """One element to (number, pack of rows) pairs, spread over the workers.

    The rows of a part follow one another in the listing, and all parts but the last are of the
    same size: put together by their numbers they are the listing, which no worker keeps.
    """

    def __init__(self, paths: Sequence[str], part_size: int) -> None:
        """`paths`: as `caption_files.find_images` takes; `part_size`: images in a part."""
        super().__init__()
        self._paths, self._part_size = list(paths), part_size

    def expand(self, begin: beam.PCollection) -> beam.PCollection[tuple[int, bytes]]:
        return (
            begin
            | "List"
            >> beam.FlatMap(
                lambda _, paths, part_size: numbered_parts(paths, part_size),
                self._paths,
                self._part_size,
            )
            | "Spread" >> beam.Reshuffle()
        )


def numbered_parts(paths: Sequence[str], part_size: int) -> Iterator[tuple[int, bytes]]:
    """Yields the number and the pack of each part."""
    found = caption_files.find_images(paths)
    for number, part in enumerate(manifest.batched(found, part_size)):
        rows = [CaptionedImage(path, path, (), "") for path in part]
        manifest.IMAGES_READ.inc(len(rows))
        yield number, manifest.pack_rows(rows)
