"""Finding a data set's folder, its captions file and its images."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

from imcap import filesystem
from imcap.errors import UserError


def data_folder(folder: str) -> str:
    """Returns `folder`, a config's `dataset.dir`, where it is one.

    Raises:
      UserError: when it is not set or is not a folder.
    """
    if not folder:
        raise UserError("config.dataset.dir: not set; name the data set's folder")
    if not filesystem.is_folder(folder):
        raise UserError(f"config.dataset.dir: there is no folder {folder}")
    return folder


def captions_file(named: str, folder: str, candidates: Sequence[str]) -> str:
    """Returns the path of the file `named`, or of the first of `candidates`, in `folder`.

    Raises:
      UserError: when there is none; it names the folder and the candidates.
    """
    if named:
        path = filesystem.join(folder, os.path.expanduser(named))
        if not filesystem.is_file(path):
            raise UserError(f"config.dataset.captions: there is no file {path}")
        return path
    paths = (filesystem.join(folder, name) for name in candidates)
    found = next((path for path in paths if filesystem.is_file(path)), None)
    if found is None:
        raise UserError(f"{folder}: no captions file; looked for {', '.join(candidates)}")
    return found


class ImageFolders:
    """The files below one or several folders.

    Args:
      roots: folders that are searched in this order; those that do not exist are passed over.
      is_listed: True: list each subfolder once, when first needed; fast, and the names of all files
        are in memory. False: check each file by its path.
    """

    def __init__(self, roots: Iterable[str], *, is_listed: bool = True) -> None:
        self.roots = [root for root in roots if filesystem.is_folder(root)]
        self._is_listed = is_listed
        self._listed: dict[str, frozenset[str]] = {}

    @classmethod
    def of(
        cls, named: str, folder: str, candidates: Sequence[str], *, is_listed: bool = True
    ) -> ImageFolders:
        """Returns the images in the folder `named`, or in those of `candidates`, below `folder`.

        Raises:
          UserError: when there is none of these folders.
        """
        if named:
            root = filesystem.join(folder, os.path.expanduser(named))
            if not filesystem.is_folder(root):
                raise UserError(f"config.dataset.images: there is no folder {root}")
            return cls([root], is_listed=is_listed)
        images = cls((filesystem.join(folder, name) for name in candidates), is_listed=is_listed)
        if not images.roots:
            wanted = ", ".join(f"{name}/" for name in candidates)
            raise UserError(f"{folder}: no folder of images; looked for {wanted}")
        return images

    def find(self, *names: str) -> str | None:
        """Returns the path of the first of `names` (with subfolders) that is a file, or None.

        A remote path is not checked: listing a bucket of a billion images takes hours, and one that
        is missing fails when it is read.
        """
        if filesystem.is_remote(names[0]):
            return names[0]
        if len(self.roots) == 1 and filesystem.is_remote(self.roots[0]):
            return filesystem.join(self.roots[0], names[0])
        return next((path for path in self._paths(names) if self._is_file(path)), None)

    def tried(self, *names: str) -> str:
        """Returns the last of `names`, with the paths where `find` looked for them."""
        paths = dict.fromkeys(self._paths(names))
        return f"{names[-1]} (tried {', '.join(paths)})"

    def names(self) -> list[str]:
        """Returns the sorted names of the images that lie directly in the folders."""
        return sorted(
            {name for root in self.roots for name in self._names(root) if filesystem.is_image(name)}
        )

    def _paths(self, names: Sequence[str]) -> Iterator[str]:
        return (filesystem.join(root, name) for name in names for root in self.roots)

    def _is_file(self, path: str) -> bool:
        if not self._is_listed:
            return filesystem.is_file(path)
        folder, _, base = path.rpartition("/")
        return base in self._names(folder or ("/" if path.startswith("/") else "."))

    def _names(self, folder: str) -> frozenset[str]:
        if folder not in self._listed:
            self._listed[folder] = filesystem.file_names(folder)
        return self._listed[folder]
