"""The caption files of the Flickr data sets: one row per caption, in three dialects.

token  name.jpg#0<TAB>caption           the authors' files
csv    image,caption                    Kaggle's Flickr8k; the caption's commas may be unquoted
pipe   image_name| comment_number| comment          Kaggle's Flickr30k
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from imcap.datasets import image_folders, splits, text_rows
from imcap.datasets.base import CaptionedImage, Problems, require_some

# A caption's row: where it stands, the photo's name, the caption.
Row = tuple[str, str, str]
Captions = dict[str, list[str]]

_NUMBER = re.compile(r"#\d+$")
_PIPE = re.compile(r"([^|]+)\|\s*\d+\s*\|(.*)", re.DOTALL)
_PIPE_LOST = re.compile(r"([^|]+)\|\s*\d+\s+(.*)", re.DOTALL)
_HEADERS = {"image", "image_name", "file_name", "filename"}


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where a data set's parts lie, relative to its folder; the first that exists is taken.

    Attributes:
      captions: the caption files' names.
      images: the photo folders' names; all that exist are searched, in this order.
      lists: for each split the names that its list may have.
    """

    captions: tuple[str, ...]
    images: tuple[str, ...]
    lists: Mapping[str, tuple[str, ...]]


def read(config: Any, layout: Layout, problems: Problems) -> Iterator[CaptionedImage]:
    """Yields the photos of a data set with this layout, sorted by name.

    Args:
      config: the dataset part; `dir`, `captions`, `images`, `ratios`, `seed`, `holdout` are used.
      layout: where to look for what the config does not name.
      problems: counts what is left out.

    Raises:
      UserError: for a folder without captions or photos, naming what was looked for.
    """
    folder = image_folders.data_folder(config)
    path = image_folders.captions_file(config, folder, layout.captions)
    photos = image_folders.ImageFolders.of(config, folder, layout.images)
    by_split = splits.assignment(config, folder, layout.lists, problems)
    joined = join(read_captions(path, problems), photos, by_split, problems)
    images = splits.hold_out(list(joined), config)
    yield from require_some(images, f"{folder} ({path})", problems)


def read_captions(path: str, problems: Problems) -> Captions:
    """Returns the captions of every photo that a caption file names, in the file's order.

    The dialect is that of the first rows. Rows that do not follow it, and empty captions, are
    counted and left out.

    Raises:
      UserError: when the file cannot be read.
    """
    captions: Captions = {}
    for where, name, caption in _dialect(path)(path, problems):
        if not caption:
            problems.add("empty captions", f"{name}, {where}")
        kept = captions.setdefault(name, [])
        if caption:
            kept.append(caption)
    return captions


def join(
    captions: Mapping[str, list[str]],
    photos: image_folders.ImageFolders,
    by_split: splits.Assignment,
    problems: Problems,
) -> Iterator[CaptionedImage]:
    """Yields the photos that have captions, a file and a split, sorted by name; counts the rest.

    Args:
      captions: by file name, which becomes the image id.
      photos: where the files are.
      by_split: says each photo's split.
      problems: counts photos without captions, captions without photos, photos in no split list.
    """
    listed = dict.fromkeys(by_split.listed())
    for name in sorted(captions):
        path, split = photos.find(name), by_split.split_of(name)
        if path is None and (not listed or split is None):
            problems.add("captions without a photo", name, max(1, len(captions[name])))
        elif path is None:
            problems.add("listed photos that are missing", name)
        elif not captions[name]:
            problems.add("photos without captions", name)
        elif split is None:
            problems.add("photos in no split list", name)
        else:
            yield CaptionedImage(name, path, tuple(captions[name]), split)
    _count_uncaptioned(captions, photos, listed, problems)


def _count_uncaptioned(
    captions: Mapping[str, list[str]],
    photos: image_folders.ImageFolders,
    listed: Mapping[str, None],
    problems: Problems,
) -> None:
    known = {*captions, *(os.path.splitext(name)[0] for name in captions)}
    for name in listed:
        if name not in known:
            problems.add("listed photos without captions", name)
    for name in photos.names():
        if not {name, os.path.splitext(name)[0]} & listed.keys() and name not in captions:
            problems.add("photos without captions", name)


def _dialect(path: str) -> Callable[[str, Problems], Iterator[Row]]:
    """Returns the reader for the delimiter that comes first in most of the first rows."""
    first = (line for _, line in itertools.islice(text_rows.read_lines(path, Problems()), 20))
    marks = collections.Counter(re.sub(r"[^\t|,]", "", line)[:1] for line in first)
    dialects = {"\t": _token_rows, "|": _pipe_rows, ",": _csv_rows}
    return dialects[max(dialects, key=lambda mark: marks[mark])]


def _token_rows(path: str, problems: Problems) -> Iterator[Row]:
    for number, line in text_rows.read_lines(path, problems):
        name, tab, caption = line.partition("\t")
        name = _NUMBER.sub("", name.strip())
        if tab and name:
            yield f"line {number}", name, caption.strip()
        else:
            _malformed(path, number, problems)


def _csv_rows(path: str, problems: Problems) -> Iterator[Row]:
    columns = 2
    read = text_rows.csv_rows(text_rows.read_lines(path, problems), max_lines=1)
    for index, (number, text, fields) in enumerate(read):
        if index == 0 and fields and fields[0].strip().lower() in _HEADERS:
            columns = max(2, len(fields))
            continue
        values = text_rows.last_takes_rest(text, fields, columns)
        name, caption = values[0].strip(), values[-1].strip()
        if len(values) == columns and name:
            yield f"line {number}", name, caption
        else:
            _malformed(path, number, problems)


def _pipe_rows(path: str, problems: Problems) -> Iterator[Row]:
    for index, (number, line) in enumerate(text_rows.read_lines(path, problems)):
        if index == 0 and line.partition("|")[0].strip().lower() in _HEADERS:
            continue
        match = _PIPE.fullmatch(line)
        if match is None and (match := _PIPE_LOST.fullmatch(line)):
            problems.add("rows mended where a delimiter was lost", f"{path}, line {number}")
        if match and (name := match[1].strip()):
            yield f"line {number}", name, match[2].strip()
        else:
            _malformed(path, number, problems)


def _malformed(path: str, number: int, problems: Problems) -> None:
    problems.add("malformed rows", f"{path}, line {number}")
