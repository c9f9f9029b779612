"""COCO Captions (Chen et al., 2015, arXiv:1504.00325), the 2014 and the 2017 arrangement.

`annotations/captions_train2017.json` and `captions_val2017.json`, images in `train2017/` and
`val2017/` (or below `images/`); the same with 2014. The test images have no public captions, so
`val` is the split `dev`. Both years hold the same images in other splits, so one year is read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from imcap import filesystem
from imcap.datasets import image_folders, text_rows
from imcap.datasets.base import (
    MISSING_IMAGES,
    CaptionedImage,
    Problems,
    Reader,
    require_some,
)
from imcap.errors import UserError

_YEARS = ("2017", "2014")
_PARTS = (("val", "dev"), ("train", "train"))


class Coco(Reader):
    """Reads COCO Captions.

    The image id is COCO's integer id, as a string.

    Settings: `dir`; optional `captions` (one annotation file, relative to `dir`: `val` in its name
    makes it `dev`) and `images` (the images' folder, or the folder of `train2017/` etc.).

    Problems: missing images, images without captions and malformed entries.
    """

    def read(self, problems: Problems) -> Iterator[CaptionedImage]:
        """Yields the images of `dev`, then of `train`, each sorted by id.

        Raises:
          UserError: when there is no annotation file, or it is not COCO's format.
        """
        folder = image_folders.data_folder(self.settings.dir)
        yield from require_some(self._all(folder, problems), folder, problems)

    def _all(self, folder: str, problems: Problems) -> Iterator[CaptionedImage]:
        seen: set[str] = set()
        for path, part, split in _annotation_files(self.settings.captions, folder, problems):
            images = _image_folders(self.settings.images, folder, part)
            for image in _read_file(path, images, split, problems):
                if image.image_id in seen:
                    problems.add("images of val that train repeats", image.image_id)
                    continue
                seen.add(image.image_id)
                yield image


def _annotation_files(named: str, folder: str, problems: Problems) -> list[tuple[str, str, str]]:
    """Returns (path, part such as `train2017`, split), dev first so that it is never trained on."""
    if named:
        path = image_folders.captions_file(named, folder, ())
        base = os.path.basename(path).lower()
        name, split = _PARTS[0] if "val" in base else _PARTS[1]
        return [(path, name + next((y for y in _YEARS if y in base), _YEARS[0]), split)]
    years = {year: _of_year(folder, year) for year in _YEARS}
    kept = next((found for found in years.values() if found), [])
    for path, *_ in years["2014"] if years["2017"] else ():
        problems.add("annotation files of 2014 left out, 2017 is here too", path)
    if not kept:
        raise UserError(
            f"{folder}: no annotations; looked for"
            " annotations/captions_{train,val}{2017,2014}.json"
        )
    return kept


def _of_year(folder: str, year: str) -> list[tuple[str, str, str]]:
    found = []
    for name, split in _PARTS:
        path = os.path.join(folder, "annotations", f"captions_{name}{year}.json")
        if filesystem.is_file(path):
            found.append((path, name + year, split))
    return found


def _image_folders(named: str, folder: str, part: str) -> image_folders.ImageFolders:
    if named:
        root = image_folders.ImageFolders.of(named, folder, ()).roots[0]
        return image_folders.ImageFolders([filesystem.join(root, part), root])
    candidates = (part, f"images/{part}", f"{part}/{part}", "images")
    return image_folders.ImageFolders.of("", folder, candidates)


def _read_file(
    path: str, images: image_folders.ImageFolders, split: str, problems: Problems
) -> Iterator[CaptionedImage]:
    document = text_rows.read_json(path)
    names = _names(path, document, problems)
    captions = _captions(path, document, problems)
    for key in sorted(captions.keys() - names.keys()):
        problems.add("captions of unknown images", f"{path}, image_id {key}", len(captions[key]))
    for key, name in sorted(names.items()):
        found = images.find(name)
        if found is None:
            problems.add(MISSING_IMAGES, images.tried(name))
        elif key not in captions:
            problems.add("images without captions", name)
        else:
            yield CaptionedImage(str(key), found, tuple(captions[key]), split)


def _names(path: str, document: Any, problems: Problems) -> dict[int, str]:
    names: dict[int, str] = {}
    for index, entry in enumerate(text_rows.json_list(path, document, "images")):
        key, name = _field(entry, "id"), text_rows.clean(_field(entry, "file_name"))
        if not _is_id(key) or not name:
            problems.add("malformed images", f"{path}, images[{index}]")
        elif names.setdefault(key, name) != name:
            problems.add("images with an id used before", f"{path}, images[{index}]")
    return names


def _captions(path: str, document: Any, problems: Problems) -> dict[int, list[str]]:
    captions: dict[int, list[str]] = {}
    for index, entry in enumerate(text_rows.json_list(path, document, "annotations")):
        key, caption = _field(entry, "image_id"), _field(entry, "caption")
        if not _is_id(key) or not isinstance(caption, str):
            problems.add("malformed annotations", f"{path}, annotations[{index}]")
        elif text := text_rows.clean(caption):
            captions.setdefault(key, []).append(text)
        else:
            problems.add("empty captions", f"{path}, annotations[{index}]")
    return captions


def _field(entry: Any, key: str) -> Any:
    return entry.get(key) if isinstance(entry, dict) else None


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
