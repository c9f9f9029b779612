"""Readers of sources that several workers can read in parts, with one image's rows anywhere."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from imcap import filesystem
from imcap.datasets.base import MISSING_IMAGES, CaptionedImage, Problems, Reader, require_some


class Part(NamedTuple):
    """A part of a file that can be read without the rest.

    `start` and `end` are bytes of a text file or row groups of a Parquet file; None for a file that
    is read as a whole.
    """

    path: str
    start: int | None = None
    end: int | None = None


class Entry(NamedTuple):
    """What one row says of an image.

    `path` may be an address (`filesystem.read_image`); it is empty where the image is missing.
    `exclusions` are the kinds of problem under which an excluded image is counted; empty for one
    that is used. `digest` is the image's, see `CaptionedImage`.
    """

    image_id: str
    path: str
    split: str
    captions: list[str]
    exclusions: Sequence[str] = ()
    digest: str = ""


class PartedReader(Reader):
    """A reader whose source can be read in parts.

    `read` gathers all rows in this process, about 0.3 kB each. The records job reads the parts with
    many workers and groups the entries with Beam.
    """

    name: str  # The source, for messages.

    @abc.abstractmethod
    def files(self) -> list[Part]:
        """Returns the source's files, each as one part."""

    @abc.abstractmethod
    def parts(self) -> Iterator[Part]:
        """Yields the parts of all files, in their order."""

    @abc.abstractmethod
    def size(self) -> int:
        """Returns about how many bytes of text all parts have."""

    @abc.abstractmethod
    def entries(self, part: Part, problems: Problems) -> Iterator[tuple[str, Entry]]:
        """Yields where a row stands and what it says, for each row of a part that can be used.

        For an entry without a path, `where` begins with the image's name and the paths tried.
        """

    @abc.abstractmethod
    def with_line_number(self, where: str) -> str:
        """Returns a problem's place with a line number where it has an offset in bytes.

        A part that begins in the middle of a file does not know the lines before it. Counting them
        reads the file up to the offset, so this is for the first problem of each kind only.
        """

    def read(self, problems: Problems) -> Iterator[CaptionedImage]:
        """Yields the images in the order of their first rows."""
        entries = (entry for part in self.files() for entry in self.entries(part, problems))
        yield from require_some(merge(entries, problems), self.name, problems)

    def first(self) -> CaptionedImage:
        """Returns an image of the first row that can be used, with that row's captions."""
        return self.sample(1)[0]

    def sample(self, count: int) -> list[CaptionedImage]:
        """Returns `count` images of the first rows that can be used, with one row's captions each.

        Raises:
          UserError: as `read` does.
        """
        problems, found = Problems(), dict[str, CaptionedImage]()
        entries = (entry for part in self.files() for entry in self.entries(part, problems))
        images = (image for entry in entries for image in merge([entry], problems))
        for image in require_some(images, self.name, problems):
            found.setdefault(image.image_id, image)
            if len(found) == count:
                break
        return list(found.values())


def _is_same_image(path: str, other: str) -> bool:
    """Tells whether two rows of one id show one image.

    Rows that embed an image again have as many bytes elsewhere.
    """
    length = filesystem.embedded_length(path)
    return path == other or (length is not None and length == filesystem.embedded_length(other))


def merge(entries: Iterable[tuple[str, Entry]], problems: Problems) -> Iterator[CaptionedImage]:
    """Yields the images of (where, entry) pairs, in the order of their first entries.

    The first entry decides on path and split; rows that say otherwise are counted. An image without
    a file, or an excluded one, counts once, however many rows it has.
    """
    merged: dict[str, Entry] = {}
    missing: dict[str, str] = {}
    excluded: dict[str, tuple[str, Sequence[str]]] = {}
    for where, entry in entries:
        if entry.exclusions:
            excluded.setdefault(entry.image_id, (where, entry.exclusions))
            continue
        if not entry.path:
            missing.setdefault(entry.image_id, where)
            continue
        first = merged.setdefault(entry.image_id, entry)
        if first is entry:
            continue
        if first.split == entry.split and _is_same_image(first.path, entry.path):
            first.captions.extend(entry.captions)
        else:
            problems.add("rows that give an id another image or split", where)
    for where, kinds in excluded.values():
        for kind in kinds:
            problems.add(kind, where)
    for image_id, where in missing.items():
        if image_id not in merged and image_id not in excluded:
            problems.add(MISSING_IMAGES, where)
    for image_id, path, split, captions, _, digest in merged.values():
        if image_id in excluded:
            continue
        if captions:
            yield CaptionedImage(image_id, path, tuple(captions), split, digest)
        else:
            problems.add("images without captions", image_id)
