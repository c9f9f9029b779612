"""Finding photos: by listing each folder once, or by asking for every file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

from imcap import filesystem
from imcap.errors import UserError


def data_folder(config: Any) -> str:
    """Returns `config.dir`.

    Raises:
      UserError: when it is not set or is not a folder.
    """
    path = os.path.expanduser(str(config.get("dir") or ""))
    if not path:
        raise UserError("config.dataset.dir: not set; name the data set's folder")
    if not filesystem.is_folder(path):
        raise UserError(f"config.dataset.dir: there is no folder {path}")
    return path


def captions_file(config: Any, folder: str, candidates: Sequence[str]) -> str:
    """Returns `config.captions`, or the first of `candidates` that lies in `folder`.

    Raises:
      UserError: when there is none; it names the folder and the candidates.
    """
    if named := config.get("captions"):
        path = os.path.join(folder, os.path.expanduser(str(named)))
        if not filesystem.is_file(path):
            raise UserError(f"config.dataset.captions: there is no file {path}")
        return path
    paths = (os.path.join(folder, name) for name in candidates)
    found = next((path for path in paths if filesystem.is_file(path)), None)
    if found is None:
        raise UserError(f"{folder}: no captions file; looked for {', '.join(candidates)}")
    return found


class ImageFolders:
    """The files below one or several folders.

    Args:
      roots: folders that are searched in this order; those that do not exist are passed over.
      is_listed: list each subfolder once, when first needed, which is fast and keeps the names of
        all files in memory; or ask for each file.
    """

    def __init__(self, roots: Iterable[str], *, is_listed: bool = True) -> None:
        self.roots = [root for root in roots if filesystem.is_folder(root)]
        self._is_listed = is_listed
        self._listed: dict[str, frozenset[str]] = {}

    @classmethod
    def of(
        cls, config: Any, folder: str, candidates: Sequence[str], *, is_listed: bool = True
    ) -> ImageFolders:
        """Returns the photos in `config.images`, or in the `candidates` below `folder` that exist.

        Raises:
          UserError: when there is none of these folders.
        """
        if named := config.get("images"):
            root = os.path.join(folder, os.path.expanduser(str(named)))
            if not filesystem.is_folder(root):
                raise UserError(f"config.dataset.images: there is no folder {root}")
            return cls([root], is_listed=is_listed)
        photos = cls((filesystem.join(folder, name) for name in candidates), is_listed=is_listed)
        if not photos.roots:
            wanted = ", ".join(f"{name}/" for name in candidates)
            raise UserError(f"{folder}: no folder of photos; looked for {wanted}")
        return photos

    def find(self, name: str) -> str | None:
        """Returns the path of the file `name` (it may have subfolders), or None.

        What names a bucket's file, or has to be in one, is taken to be there: listing a bucket of
        a billion photos takes hours, and one that is missing fails when it is read.
        """
        if filesystem.is_remote(name):
            return name
        if len(self.roots) == 1 and filesystem.is_remote(self.roots[0]):
            return filesystem.join(self.roots[0], name)
        below, base = os.path.split(name)
        for root in self.roots:
            folder = filesystem.join(root, below) if below else root
            path = os.path.join(folder, base)
            if base in self._names(folder) if self._is_listed else filesystem.is_file(path):
                return path
        return None

    def names(self) -> list[str]:
        """Returns the sorted names of the photos that lie directly in the folders."""
        return sorted(
            {name for root in self.roots for name in self._names(root) if filesystem.is_image(name)}
        )

    def _names(self, folder: str) -> frozenset[str]:
        if folder not in self._listed:
            self._listed[folder] = filesystem.names(folder)
        return self._listed[folder]
