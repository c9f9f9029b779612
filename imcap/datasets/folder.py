"""A folder of images, each with a text file of the same name beside it, one caption per line.

beach.jpg   beach.txt        holiday/dog.png   holiday/dog.txt

Subfolders called `train`, `val` (or `dev`, `valid`, `validation`) and `test`, in any case, are the
splits. Without them a seeded ratio splits the images.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from imcap import filesystem
from imcap.datasets import image_folders, splits, text_rows
from imcap.datasets.base import CaptionedImage, Problems, Reader, require_some


class Folder(Reader):
    """Reads the images of a folder and its subfolders.

    The image id is the path below the folder, with forward slashes. One folder's list of files is
    in memory at a time.

    Settings: `dir`; optional `images` (the folder to read, relative to `dir`), `ratios`, `seed`.

    Problems: images without captions, text files without an image, and images that lie outside of
    the split folders where there are any.
    """

    def read(self, problems: Problems) -> Iterator[CaptionedImage]:
        """Yields the images sorted by folder and name."""
        folder = image_folders.data_folder(self.settings.dir)
        root = image_folders.ImageFolders.of(self.settings.images, folder, (".",)).roots[0]
        images = _images(root, self._split_of(root), problems)
        yield from require_some(images, root, problems)

    def _split_of(self, root: str) -> Callable[[str], str | None]:
        """Returns what says an image's split: its top folder, or the ratio."""
        split_of_folder = {
            name: split
            for name in filesystem.folders(root)
            if (split := splits.canonical(name)) in splits.SPLITS
        }
        if not split_of_folder:
            return splits.ratio_split(self.settings, root).split_of
        splits.log_once(f"{root}: split by its folders {', '.join(split_of_folder)}")
        return lambda image_id: split_of_folder.get(image_id.partition("/")[0])


def _images(
    root: str, split_of: Callable[[str], str | None], problems: Problems
) -> Iterator[CaptionedImage]:
    for parent, names in filesystem.walk(root):
        texts = {name for name in names if name.lower().endswith(".txt")}
        used: set[str] = set()
        for name in filter(filesystem.is_image, names):
            text = os.path.splitext(name)[0] + ".txt"
            used.add(text)
            captions = _captions(os.path.join(parent, text), problems) if text in texts else ()
            path = filesystem.join(parent, name)
            image_id = filesystem.relative_to(path, root)
            split = split_of(image_id)
            if split is None:
                problems.add("images outside of the split folders", path)
            elif not captions:
                problems.add("images without captions", path)
            else:
                yield CaptionedImage(image_id, path, captions, split)
        for text in sorted(texts - used):
            problems.add("text files without an image", os.path.join(parent, text))


def _captions(path: str, problems: Problems) -> tuple[str, ...]:
    return tuple(line.strip() for _, line in text_rows.read_lines(path, problems))
