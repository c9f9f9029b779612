"""Images whose files hold the same bytes, and which of them to leave out of a split."""

from __future__ import annotations

import collections
import functools
import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import apache_beam as beam
import numpy as np
from apache_beam.metrics import Metrics

from beam_jobs.transforms import manifest
from imcap import filesystem
from imcap.datasets import CaptionedImage
from imcap.errors import UserError

Group = list[list[str]]
# With a billion images, the chance that any two different ones have the same digest is 3%.
_DIGEST_BYTES = 8
# Which split keeps an image that is in several, the lowest first: train loses it first.
_RANK = {"test": 1, "dev": 2, "train": 3}


class FindDuplicates(beam.PTransform):
    """Rows to groups of equal images: sorted [split, image_id] lists of two or more.

    An image that cannot be read has no equal.
    """

    def __init__(self, unpacked: str = "") -> None:
        """`unpacked`: the folder where images in Parquet files are unpacked."""
        super().__init__()
        self._unpacked = unpacked

    def expand(self, rows: beam.PCollection[CaptionedImage]) -> beam.PCollection[Group]:
        return (
            rows
            | "Hash" >> beam.FlatMap(_hash, self._unpacked)
            | "Pack" >> beam.ParDo(manifest.PackByKey())
            | "Group" >> beam.GroupByKey()
            | "Compare" >> beam.FlatMap(_compare)
        )


def digest_of(read: Callable[[str], bytes], path: str) -> str:
    """Returns the digest of the image that `read` reads at `path`; empty where it cannot."""
    try:
        return hashlib.blake2b(read(path), digest_size=_DIGEST_BYTES).hexdigest()
    except (OSError, UserError):
        return ""


def _hash(row: CaptionedImage, unpacked: str) -> Iterator[tuple[int, list[str]]]:
    read = functools.partial(filesystem.read_image, unpacked=unpacked)
    if digest := row.digest or digest_of(read, row.path):
        # One of 256 groups, so that packs are full.
        yield int(digest[:2], 16), [digest, row.split, row.image_id]


def _compare(element: tuple[int, Iterable[bytes]]) -> Iterator[Group]:
    packs = element[1]
    # Digests alone first, 8 bytes each: few of a billion images have an equal.
    repeated = _repeated(packs)
    groups: dict[str, Group] = collections.defaultdict(list)
    for digest, split, image_id in _unpack(packs) if repeated else ():
        if digest in repeated:
            groups[digest].append([split, image_id])
    for digest in sorted(groups):
        Metrics.counter("imcap", "images_duplicate").inc(len(groups[digest]) - 1)
        yield sorted(groups[digest])


def _repeated(packs: Iterable[bytes]) -> set[str]:
    """Returns the digests that occur more than once."""
    digests = np.fromiter((int(row[0], 16) for row in _unpack(packs)), np.uint64)
    digests.sort()
    found = np.unique(digests[1:][digests[1:] == digests[:-1]])
    return {f"{digest:0{2 * _DIGEST_BYTES}x}" for digest in found}


def _unpack(packs: Iterable[bytes]) -> Iterator[list[str]]:
    return itertools.chain.from_iterable(map(manifest.decompress, packs))


def leaks(group: Group) -> list[tuple[str, str]]:
    """Returns (split, image_id) of the images of a group to leave out: one split keeps its own."""
    splits = {split for split, _ in group}
    keeper = min(splits, key=lambda split: (_RANK.get(split, 0), split))
    return [(split, image_id) for split, image_id in group if split != keeper]


class Summary(NamedTuple):
    """What is told of all groups of equal images.

    Attributes:
      duplicates: images that another one of their group is equal to, but for one of each group.
      leaks: those of them that are left out of their split.
      first_leak: the least image_id of these; empty where there are none.
    """

    duplicates: int = 0
    leaks: int = 0
    first_leak: str = ""


def summarize(group: Group) -> Summary:
    """Returns what is told of one group."""
    ids = [image_id for _, image_id in leaks(group)]
    return Summary(len(group) - 1, len(ids), min(ids, default=""))


def add_summaries(summaries: Iterable[Summary]) -> Summary:
    """Returns what is told of several groups."""
    sums = Summary()
    for one in summaries:
        first = min(filter(None, (sums.first_leak, one[2])), default="")
        sums = Summary(sums.duplicates + one[0], sums.leaks + one[1], first)
    return sums
