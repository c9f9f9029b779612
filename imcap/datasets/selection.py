"""Which of a data set's images are used: all but those that lists exclude, some of them held out.

`config.dataset.exclude` names lists with one image id or file name per line, as the split lists of
Flickr8k and Flickr30k are. A line excludes the image

- whose id or file name it is; either may lack an image's extension (`.jpg`);
- of the same Flickr number: `1000268201_693b08cb0e` (Flickr8k) and `1000268201` (Flickr30k) are one
  image. This holds only where one name is the bare number and the other the number, `_` and the ten
  hexadecimal digits that Flickr adds.
"""

from __future__ import annotations

import collections
import os
import re
from collections.abc import Iterable, Iterator

from imcap import filesystem, hashing
from imcap.datasets import splits, text_rows
from imcap.datasets.base import CaptionedImage, Problems, Reader, require_some
from imcap.datasets.parted import Entry, Part, PartedReader
from imcap.errors import UserError

_SETTING = "config.dataset.exclude"
_FLICKR_NAME = re.compile(r"(\d+)_[0-9a-f]{10}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def apply(reader: Reader) -> Reader:
    """Returns a reader of the images that `exclude` and `holdout` in its settings leave.

    That is `reader` itself where there is nothing to do.

    Raises:
      UserError: a list is missing, empty or no list of ids, or the reader cannot leave images out
        or hold them out.
    """
    settings, excludes = reader.settings, bool(list_paths(reader.settings.exclude))
    if reader.draws and excludes:
        raise UserError(f"{_SETTING}={settings.exclude}: drawn images have no published ids")
    _check_holdout(reader)
    if isinstance(reader, PartedReader):
        return _SelectedParts(reader) if excludes else reader
    return _Selected(reader) if excludes or settings.holdout else reader


def _check_holdout(reader: Reader) -> None:
    """Raises UserError if images are to be held out of a reader that cannot do so."""
    refusal = f"config.dataset.holdout={reader.settings.holdout} must be 0"
    if reader.settings.holdout and reader.draws:
        raise UserError(f"{refusal} for images that are drawn: they have a test split")
    if reader.settings.holdout and isinstance(reader, PartedReader):
        # No process knows all of its images.
        raise UserError(f"{refusal} for a table: name a split in its split column instead")


def list_paths(exclude: str) -> list[str]:
    """Returns the paths that a value of the setting `exclude` names, separated by commas."""
    return [os.path.expanduser(path.strip()) for path in exclude.split(",") if path.strip()]


def digest(exclude: str) -> str:
    """Returns a digest of what the lists hold, wherever they lie; empty where there are none.

    Raises:
      UserError: a list is missing, empty or no list of ids.
    """
    lines = {line for path in list_paths(exclude) for line in _read_list(path)}
    return hashing.digest_of(sorted(lines)) if lines else ""


class _Lists:
    """The lists of `config.dataset.exclude`, and which images are in them."""

    def __init__(self, exclude: str) -> None:
        """Reads the lists; raises UserError as `digest` does."""
        self._lines = {path: _read_list(path) for path in list_paths(exclude)}
        self._listed: dict[str, list[str]] = collections.defaultdict(list)
        for path, lines in self._lines.items():
            for key in {key for line in lines for key in _keys_of_line(line)}:
                self._listed[key].append(path)

    def lists_of(self, image_id: str, path: str) -> list[str]:
        """Returns the lists, by path, that an image is in by its id or its file's name."""
        # An id that is a path means one file; files of the same name elsewhere are other images.
        names = [image_id] if "/" in image_id else [image_id, os.path.basename(path)]
        found = (self._listed.get(key, ()) for name in names for key in _keys_of_image(name))
        return list(dict.fromkeys(path for paths in found for path in paths))

    def kind(self, path: str) -> str:
        """Returns the kind of problem under which the images of a list are counted.

        It names the file alone, as info.json holds it, unless another list has the same name.
        """
        name = os.path.basename(path)
        is_unique = [os.path.basename(other) for other in self._lines].count(name) == 1
        return f"images excluded by {name if is_unique else path}"

    def exclude(
        self, images: Iterable[CaptionedImage], problems: Problems
    ) -> Iterator[CaptionedImage]:
        """Passes on the images that are in no list; counts the others in `problems`, by list.

        Raises:
          UserError: after the last image, if there is a list that no image was in.
        """
        counts = dict.fromkeys(self._lines, 0)
        for image in images:
            lists = self.lists_of(image.image_id, image.path)
            for path in lists:
                counts[path] += 1
                problems.add(self.kind(path), image.image_id)
            if not lists:
                yield image
        self.require_use(path for path, count in counts.items() if count)
        self.log(problems)

    def log(self, problems: Problems) -> None:
        """Logs how many images each list has excluded, as `problems` has counted them."""
        for path, lines in self._lines.items():
            count = problems.counts.get(self.kind(path), 0)
            splits.log_once(
                f"{_SETTING}: {count:,} images are excluded by the {len(lines):,} ids in {path}"
            )

    def require_use(self, used: Iterable[str]) -> None:
        """Raises UserError unless each list is one of `used`, which is read only as far as needed.

        A list that excludes nothing belongs to another data set or has names of another form, and
        training would go on with the very images that it is to keep out.
        """
        unused = dict(self._lines)
        for path in used:
            unused.pop(path, None)
            if not unused:
                return
        for path, lines in unused.items():
            raise UserError(
                f"{_SETTING}: none of the {len(lines):,} ids in {path}, such as "
                f"{min(lines)!r:.80}, is in the data set: leave the list out, or give one of this "
                "data set's ids or file names"
            )


def _read_list(path: str) -> set[str]:
    """Returns the lines of a list; raises UserError if it is missing, empty or no list of ids."""
    if not filesystem.is_file(path):
        raise UserError(f"{_SETTING}: there is no file {path}")
    problems, lines = Problems(), set()
    for number, line in text_rows.read_lines(path, problems):
        lines.add(line.strip())
        if _CONTROL.search(line.strip()):
            problems.add("lines that are not one id", f"line {number}")
    if problems.counts or not lines:
        found = "; ".join(problems.lines()) or "it is empty"
        raise UserError(f"{_SETTING}: {path} should have one image id per line: {found}")
    return lines


def _keys_of_line(line: str) -> Iterator[str]:
    """Yields the forms under which a line is looked for: see `_keys_of_image`."""
    bare = splits.without_extension(line)
    yield from (line, bare)
    if found := _FLICKR_NAME.fullmatch(bare):
        yield f"{found[1]}_"  # Any name of this number; only a bare number looks for it.


def _keys_of_image(name: str) -> Iterator[str]:
    """Yields the forms of an image's name; a line with one of them excludes the image."""
    bare = splits.without_extension(name)
    yield from (name, bare)
    if found := _FLICKR_NAME.fullmatch(bare):
        yield found[1]
    elif bare.isdecimal():
        yield f"{bare}_"


class _Selected(Reader):
    """A reader's images without those that lists exclude, and with some of the rest held out."""

    def __init__(self, reader: Reader) -> None:
        super().__init__(reader.settings)
        self._reader, self._lists = reader, _Lists(reader.settings.exclude)

    def read(self, problems: Problems) -> Iterator[CaptionedImage]:
        settings = self.settings
        images = self._lists.exclude(self._reader.read(problems), problems)
        if settings.holdout:
            images = iter(splits.hold_out(list(images), settings.holdout, settings.seed))
        yield from require_some(images, settings.dir, problems)

    def first(self) -> CaptionedImage:
        # Reads everything: whether each list excludes an image is known in the end only.
        first, *_ = self.read(Problems())
        return first


class _SelectedParts(PartedReader):
    """A reader in parts, without the images that lists exclude.

    An entry says which lists its image is in, and `parted.merge` counts the image once, wherever
    its rows stand.
    """

    def __init__(self, reader: PartedReader) -> None:
        super().__init__(reader.settings)
        self.name, self._reader, self._lists = reader.name, reader, _Lists(reader.settings.exclude)

    def files(self) -> list[Part]:
        return self._reader.files()

    def parts(self) -> Iterator[Part]:
        return self._reader.parts()

    def size(self) -> int:
        return self._reader.size()

    def with_line_number(self, where: str) -> str:
        return self._reader.with_line_number(where)

    def entries(self, part: Part, problems: Problems) -> Iterator[tuple[str, Entry]]:
        for where, entry in self._reader.entries(part, problems):
            lists = self._lists.lists_of(entry.image_id, entry.path)
            yield where, entry._replace(exclusions=[self._lists.kind(path) for path in lists])

    def read(self, problems: Problems) -> Iterator[CaptionedImage]:
        self._require_use()
        yield from super().read(problems)
        self._lists.log(problems)

    def sample(self, count: int) -> list[CaptionedImage]:
        self._require_use()
        return super().sample(count)

    def _require_use(self) -> None:
        """Raises UserError if a list excludes no image; reads until each has excluded one."""
        rows = (row for part in self.files() for row in self._reader.entries(part, Problems()))
        lists = (self._lists.lists_of(entry.image_id, entry.path) for _, entry in rows)
        self._lists.require_use(path for paths in lists for path in paths)
