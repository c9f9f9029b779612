"""The caption files of the Flickr data sets: one row per caption, in three dialects.

token  name.jpg#0<TAB>caption           the authors' files
csv    image,caption                    Kaggle's Flickr8k; the caption's commas may be unquoted;
                                        also delimited by semicolons
pipe   image_name| comment_number| comment          Kaggle's Flickr30k
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import itertools
import os
import re
from collections.abc import Callable, Iterator, Mapping

from imcap.datasets import image_folders, splits, text_rows
from imcap.datasets.base import (
    MISSING_IMAGES,
    CaptionedImage,
    Problems,
    Reader,
    require_some,
)

# A caption's row: where it stands, the image's name, the caption.
Row = tuple[str, str, str]
Captions = dict[str, list[str]]

_NUMBER = re.compile(r"#\d+$")
_PIPE = re.compile(r"([^|]+)\|\s*\d+\s*\|(.*)", re.DOTALL)
_PIPE_WITHOUT_SECOND_DELIMITER = re.compile(r"([^|]+)\|\s*\d+\s+(.*)", re.DOTALL)
_HEADERS = {"image", "image_name", "file_name", "filename"}


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where a data set's parts lie, relative to its folder; the first that exists is taken.

    Attributes:
      captions: the caption files' names.
      images: the image folders' names; all that exist are searched, in this order.
      lists: for each split the names that its list may have.
    """

    captions: tuple[str, ...]
    images: tuple[str, ...]
    lists: Mapping[str, tuple[str, ...]]


class CaptionFileReader(Reader):
    """Reads a data set with a caption file; a subclass says where its parts lie.

    The image id is the file name.

    Settings: `dir`; optional `captions` and `images` (relative to `dir`), `ratios` and `seed` (used
    without split lists).

    Problems: images in no split list, missing images, malformed rows and the like.
    """

    layout: Layout

    def read(self, problems: Problems) -> Iterator[CaptionedImage]:
        """Yields the images sorted by name.

        Raises:
          UserError: for a folder without captions or images, naming what was looked for.
        """
        settings, layout = self.settings, self.layout
        folder = image_folders.data_folder(settings.dir)
        path = image_folders.captions_file(settings.captions, folder, layout.captions)
        images = image_folders.ImageFolders.of(settings.images, folder, layout.images)
        assignment = splits.assignment(settings, layout.lists, problems)
        joined = join(read_captions(path, problems), images, assignment, problems)
        yield from require_some(joined, f"{folder} ({path})", problems)


def read_captions(path: str, problems: Problems) -> Captions:
    """Returns the captions of every image that a caption file names, in the file's order.

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
    images: image_folders.ImageFolders,
    assignment: splits.Assignment,
    problems: Problems,
) -> Iterator[CaptionedImage]:
    """Yields the images that have captions, a file and a split, sorted by name; counts the rest.

    Args:
      captions: by file name, which becomes the image id.
      images: where the files are.
      assignment: says each image's split.
      problems: counts images in no split list, missing ones, and those without captions.
    """
    for name in sorted(captions):
        split = assignment.split_of(name)
        if split is None:
            problems.add("images in no split list", name)
        elif (path := images.find(name)) is None:
            problems.add(MISSING_IMAGES, images.tried(name))
        elif not captions[name]:
            problems.add("images without captions", name)
        else:
            yield CaptionedImage(name, path, tuple(captions[name]), split)
    _count_uncaptioned(captions, images, dict.fromkeys(assignment.listed()), problems)


def _count_uncaptioned(
    captions: Mapping[str, list[str]],
    images: image_folders.ImageFolders,
    listed: Mapping[str, None],
    problems: Problems,
) -> None:
    known = {*captions, *(os.path.splitext(name)[0] for name in captions)}
    for name in listed:
        if name not in known:
            problems.add("listed images without captions", name)
    for name in images.names():
        if not {name, os.path.splitext(name)[0]} & listed.keys() and name not in captions:
            problems.add("images without captions", name)


def _dialect(path: str) -> Callable[[str, Problems], Iterator[Row]]:
    """Returns the reader for the delimiter that is the first one in most of the first 20 rows."""
    first = (line for _, line in itertools.islice(text_rows.read_lines(path, Problems()), 20))
    delimiters = collections.Counter(re.sub(r"[^\t|,;]", "", line)[:1] for line in first)
    semicolons = functools.partial(_csv_rows, delimiter=";")
    dialects: dict[str, Callable[[str, Problems], Iterator[Row]]]
    dialects = {"\t": _token_rows, "|": _pipe_rows, ",": _csv_rows, ";": semicolons}
    return dialects[max(dialects, key=lambda delimiter: delimiters[delimiter])]


def _token_rows(path: str, problems: Problems) -> Iterator[Row]:
    for number, line in text_rows.read_lines(path, problems):
        name, tab, caption = line.partition("\t")
        name = _NUMBER.sub("", name.strip())
        if tab and name:
            yield f"line {number}", name, caption.strip()
        else:
            _malformed(path, number, problems)


def _csv_rows(path: str, problems: Problems, delimiter: str = ",") -> Iterator[Row]:
    columns = 2
    read = text_rows.csv_rows(text_rows.read_lines(path, problems), delimiter, max_lines=1)
    for index, (number, text, fields) in enumerate(read):
        if index == 0 and fields and fields[0].strip().lower() in _HEADERS:
            columns = max(2, len(fields))
            continue
        values = text_rows.last_takes_rest(text, fields, columns, delimiter)
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
        if match is None and (match := _PIPE_WITHOUT_SECOND_DELIMITER.fullmatch(line)):
            problems.add("rows repaired where a delimiter was lost", f"{path}, line {number}")
        if match and (name := match[1].strip()):
            yield f"line {number}", name, match[2].strip()
        else:
            _malformed(path, number, problems)


def _malformed(path: str, number: int, problems: Problems) -> None:
    problems.add("malformed rows", f"{path}, line {number}")
