"""Karpathy's splits of Flickr8k, Flickr30k and COCO (Karpathy and Fei-Fei, CVPR 2015).

One of `dataset_flickr8k.json`, `dataset_flickr30k.json`, `dataset_coco.json` holds the captions
and the splits; the images lie as in the data set itself. `val` is the split `dev`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from imcap import filesystem
from imcap.datasets import flickr8k, flickr30k, image_folders, splits, text_rows
from imcap.datasets.base import (
    MISSING_IMAGES,
    CaptionedImage,
    Problems,
    Reader,
    require_some,
)
from imcap.errors import UserError

FILES = ("dataset_coco.json", "dataset_flickr30k.json", "dataset_flickr8k.json")
# COCO's entries name their subfolder (`filepath`), hence the folder itself and `images`.
_IMAGES = (*flickr8k.LAYOUT.images, *flickr30k.LAYOUT.images, "images", ".")


class Karpathy(Reader):
    """Reads Karpathy's split files.

    The image id is COCO's id as a string where the file has one, else the file name.

    Settings: `dir`; optional `captions` (the JSON file, relative to `dir`), `images` (the images'
    folder) and `restval` (True, the default: COCO's `restval` images are in `train`; False: they
    are left out).

    Problems: missing images, malformed entries and what is left out.
    """

    def read(self, problems: Problems) -> Iterator[CaptionedImage]:
        """Yields the images in the file's order.

        Raises:
          UserError: when there is no such file, several, or it is not in this format.
        """
        folder = image_folders.data_folder(self.settings.dir)
        path = _dataset_file(self.settings.captions, folder)
        images = image_folders.ImageFolders.of(self.settings.images, folder, _IMAGES)
        found = _images(path, images, bool(self.settings.restval), problems)
        yield from require_some(found, f"{folder} ({path})", problems)


def _dataset_file(named: str, folder: str) -> str:
    here = [name for name in FILES if filesystem.is_file(os.path.join(folder, name))]
    if len(here) > 1 and not named:
        raise UserError(
            f"{folder}: {', '.join(here)} lie here; choose one with config.dataset.captions"
        )
    return image_folders.captions_file(named, folder, FILES)


def _images(
    path: str, images: image_folders.ImageFolders, keep_restval: bool, problems: Problems
) -> Iterator[CaptionedImage]:
    seen: set[str] = set()
    for index, entry in enumerate(text_rows.json_list(path, text_rows.read_json(path), "images")):
        where = f"{path}, images[{index}]"
        image = _image(entry, images, keep_restval, where, problems)
        if image is None:
            continue
        if image.image_id in seen:
            problems.add("images with an id used before", where)
            continue
        seen.add(image.image_id)
        yield image


def _image(
    entry: Any,
    images: image_folders.ImageFolders,
    keep_restval: bool,
    where: str,
    problems: Problems,
) -> CaptionedImage | None:
    entry = entry if isinstance(entry, dict) else {}
    name, source_split = text_rows.clean(entry.get("filename")), text_rows.clean(entry.get("split"))
    split = splits.canonical("train" if source_split == "restval" else source_split)
    captions = _captions(entry.get("sentences"))
    below = os.path.join(text_rows.clean(entry.get("filepath")), name)
    found = images.find(below, name) if name else None
    if not name or not split:
        problems.add("malformed images", where)
    elif source_split == "restval" and not keep_restval:
        problems.add("restval images left out", name)
    elif found is None:
        problems.add(MISSING_IMAGES, images.tried(below, name))
    elif not captions:
        problems.add("images without captions", name)
    else:
        return CaptionedImage(text_rows.clean(entry.get("cocoid")) or name, found, captions, split)
    return None


def _captions(sentences: Any) -> tuple[str, ...]:
    found = sentences if isinstance(sentences, list) else []
    raw = (sentence.get("raw") for sentence in found if isinstance(sentence, dict))
    return tuple(caption for caption in map(text_rows.clean, raw) if caption)
