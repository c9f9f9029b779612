"""A folder of photos, each with a text file of the same name beside it, one caption per line.

beach.jpg   beach.txt        holiday/dog.png   holiday/dog.txt
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from imcap import filesystem
from imcap.datasets import image_folders, splits, text_rows
from imcap.datasets.base import CaptionedImage, Problems, require_some


def read(config: Any, problems: Problems) -> Iterator[CaptionedImage]:
    """Yields the photos of the folder and its subfolders, split by a seeded ratio.

    The image id is the path below the folder, with forward slashes. One folder's list of files is
    in memory at a time.

    Args:
      config: `dir`; optional `images` (the folder to read, relative to `dir`), `ratios`, `seed`.
      problems: counts photos without captions and text files without a photo.

    Raises:
      UserError: when there is no such folder, or no photo with captions in it.
    """
    root = image_folders.ImageFolders.of(config, image_folders.data_folder(config), (".",)).roots[0]
    by_ratio = splits.ratio_split(config)
    yield from require_some(_images(root, by_ratio, problems), root, problems)


def _images(root: str, by_ratio: splits.RatioSplit, problems: Problems) -> Iterator[CaptionedImage]:
    for parent, names in filesystem.walk(root):
        texts = {name for name in names if name.lower().endswith(".txt")}
        used: set[str] = set()
        for name in filter(filesystem.is_image, names):
            text = os.path.splitext(name)[0] + ".txt"
            used.add(text)
            captions = _captions(os.path.join(parent, text), problems) if text in texts else ()
            path = os.path.join(parent, name)
            if captions:
                image_id = os.path.relpath(path, root).replace(os.sep, "/")
                yield CaptionedImage(image_id, path, captions, by_ratio.split_of(image_id))
            else:
                problems.add("photos without captions", path)
        for text in sorted(texts - used):
            problems.add("text files without a photo", os.path.join(parent, text))


def _captions(path: str, problems: Problems) -> tuple[str, ...]:
    return tuple(line.strip() for _, line in text_rows.read_lines(path, problems))
