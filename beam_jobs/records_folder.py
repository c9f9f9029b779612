"""The records folder as a whole: what is in it, whose settings it has, and what is removed."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from typing import Any

from apache_beam.io.filesystems import FileSystems

from imcap import filesystem, records
from imcap.errors import UserError

_SHARDS = "*-?????-of-?????.tfrecord"
_UNPACKED = "unpacked"

# What determines the features: `build_records.records_settings` makes it.
RecordsSettings = dict[str, dict[str, Any]]


def read_settings(folder: str) -> RecordsSettings | None:
    """Returns the settings that a folder's records are made with; None in a new folder."""
    settings = filesystem.read_json(_settings_path(folder))
    return settings if isinstance(settings, dict) else None


def check_settings(
    folder: str, existing: RecordsSettings | None, settings: RecordsSettings
) -> None:
    """Raises UserError naming the first setting that differs: their records do not mix."""
    if existing is None:
        return
    if difference := records.settings_difference(existing, settings):
        part, key, before, value = difference
        raise UserError(
            f"{folder} holds records made with {part}.{key}={before!r}, now {value!r}: "
            "--overwrite starts over, --config.records.dir=DIR keeps both"
        )


def prepare(folder: str, settings: RecordsSettings, *, overwrite: bool) -> None:
    """Makes a folder ready for a job: it is not finished until the job is.

    Args:
      folder: the records folder, new or of the same settings.
      settings: to write into it.
      overwrite: remove all records first.

    Raises:
      UserError: as `make_folders`.
    """
    make_folders(folder)
    with _writing(folder):
        if overwrite:
            _remove_records(folder)
        _remove_unfinished(folder)
        filesystem.write_text(_settings_path(folder), json.dumps(settings, sort_keys=True))
        completed = FileSystems.join(folder, records.COMPLETED)
        if FileSystems.exists(completed):
            FileSystems.delete([completed])


def make_folders(folder: str) -> None:
    """Makes a records folder and the folders in it.

    Raises:
      UserError: it cannot be written, or Beam would take its name for a pattern.
    """
    if any(character in folder for character in "*?["):
        raise UserError(f"config.records.dir={folder} must not contain the characters * ? [")
    # shards/ holds the settings and the reports; the shards themselves lie beside it.
    paths = (folder, FileSystems.join(folder, "shards"), FileSystems.join(folder, "progress"))
    with _writing(folder):
        for path in paths:
            if not FileSystems.exists(path):
                FileSystems.mkdirs(path)


@contextlib.contextmanager
def _writing(folder: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"config.records.dir={folder} cannot be written: {error}") from error


def remove_empty_folders(folder: str) -> None:
    """Removes what `make_folders` has made where nothing has been written there."""
    if not filesystem.is_remote(folder):
        for path in (os.path.join(folder, "shards"), os.path.join(folder, "progress"), folder):
            with contextlib.suppress(OSError):  # It is not empty.
                os.rmdir(path)


def count_reports(folder: str) -> int:
    """Returns how many shards have a report."""
    return len(_find(folder, "shards/*-?????.json"))


def remove_stale_shards(folder: str, names: Iterable[str]) -> None:
    """Removes shards other than `names`: those without images, as after a change of the splits."""
    kept = frozenset(names)
    paths = _find(folder, _SHARDS)
    _delete([path for path in paths if FileSystems.split(path)[1] not in kept])


def unpacked_images(folder: str) -> str:
    """Returns where a job keeps images of Parquet files until its end: `filesystem.read_image`."""
    return FileSystems.join(folder, _UNPACKED)


def remove_unpacked_images(folder: str) -> None:
    """Removes what jobs have put into `unpacked_images`, and nothing else."""
    remove(folder, f"{_UNPACKED}/*{filesystem.UNPACKED}")  # Also unfinished ones.
    with contextlib.suppress(OSError):  # It is remote, not there, or holds other files.
        os.rmdir(unpacked_images(folder))


def remove(folder: str, *patterns: str) -> None:
    """Removes the files below a folder that fit glob patterns such as `progress/*`."""
    _delete(_find(folder, *patterns))


def _settings_path(folder: str) -> str:
    return FileSystems.join(folder, "shards", "settings.json")


def _remove_unfinished(folder: str) -> None:
    """Removes the temporary files and the progress of a killed job."""
    unfinished = [f"{part}{filesystem.TEMPORARY}*" for part in ("", "shards/")]
    remove(folder, *unfinished, "progress/*")
    remove_unpacked_images(folder)


def _remove_records(folder: str) -> None:
    """Removes everything that jobs have written, and nothing else."""
    descriptions = (
        records.COMPLETED,
        records.INFO,
        records.VOCABULARY,
        records.FAILURES,
        records.FEATURES_JSON,
        records.DATASET_INFO,
    )
    remove(folder, *descriptions, "shards/*.json", _SHARDS)


def _find(folder: str, *patterns: str) -> list[str]:
    paths = [FileSystems.join(folder, *pattern.split("/")) for pattern in patterns]
    found = FileSystems.match(paths)
    return [metadata.path for result in found for metadata in result.metadata_list]


def _delete(paths: list[str]) -> None:
    if paths:
        FileSystems.delete(paths)
