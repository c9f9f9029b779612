"""Operations on paths that do not touch the disk."""

from __future__ import annotations

import os

IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp")


def is_image(name: str) -> bool:
    """Tells whether a file name is an image's; hidden files (macOS leaves `._x.jpg`) are not."""
    return name.lower().endswith(IMAGE_EXTENSIONS) and not name.startswith(".")


def is_remote(path: str) -> bool:
    """Tells whether a path has a scheme, such as gs://."""
    return "://" in path


def join(folder: str, name: str) -> str:
    """Returns `folder/name` without `.` and, in a local path, without `..` in it."""
    path = os.path.join(folder, name)
    return path.removesuffix("/.") if is_remote(path) else os.path.normpath(path)


def normalize(path: str) -> str:
    """Returns one spelling of a path: `~` replaced, without trailing slash, `.` and `..`.

    The empty path, which stands for none, stays empty.
    """
    if not path:
        return ""
    return path.rstrip("/") if is_remote(path) else os.path.normpath(os.path.expanduser(path))


def cache_folder(kind: str) -> str:
    """Returns where imcap keeps what it can make again: below $XDG_CACHE_HOME or `~/.cache`."""
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return normalize(os.path.join(home, "imcap", kind))


def relative_to(path: str, folder: str) -> str:
    """Returns `path` relative to `folder`, however both are spelt; unchanged if it is elsewhere."""
    inner, outer = normalize(path), normalize(folder)
    if outer == "." and not is_remote(path):
        return path if inner.startswith((os.sep, "..")) else inner
    start = os.path.join(outer, "")
    return inner.removeprefix(start) if outer and inner.startswith(start) else path
