"""Remote records that TensorFlow cannot read: a verified copy in a local cache."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import shlex
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import tensorflow as tf
import tqdm
from absl import logging

from imcap import filesystem, hashing, progress
from imcap.errors import UserError, one_line
from imcap.records import info as info_lib
from imcap.records.info import Info
from imcap.records.shards import read_digest, shard_index, shards

OPTIONS = "IMCAP_BEAM_OPTIONS"
_DOWNLOADS = 4  # At a time: one connection to a bucket is slower than most networks.
_LOCK = ".lock"


def local_folder(folder: str, cache_dir: str = "", *, with_shards: bool = True) -> str:
    """Returns where TensorFlow can read the records of `folder`.

    A folder that TensorFlow reads by itself (local, gs://) is returned unchanged. Another one
    (s3://, hdfs://) is copied once into the cache with Beam's filesystems, which wrote it; each
    shard's size and digest are compared with info.json's. A copy that was interrupted is completed,
    and of several processes one copies while the others wait. Other records under the same name
    get another folder in the cache.

    The environment variable IMCAP_BEAM_OPTIONS may hold what Beam's filesystems need to know, such
    as `--s3_endpoint_url=…`, or `--hdfs_host=… --hdfs_port=… --hdfs_user=…`.

    Args:
      folder: a records folder, local or remote.
      cache_dir: `config.records.cache_dir`; empty: `~/.cache/imcap/records`.
      with_shards: False: only info.json and the vocabulary are needed.

    Raises:
      UserError: there are no finished records, a shard is not what info.json says, or the cache
        cannot be written.
    """
    if folder.rpartition("://")[0] in tf.io.gfile.get_registered_schemes():
        return folder
    if os.environ.get(OPTIONS):
        filesystem.set_remote_options(shlex.split(os.environ[OPTIONS]))
    folder = filesystem.normalize(folder)
    content, info = _read_info(folder)
    target = _cache_folder(folder, content, cache_dir)
    with filesystem.writing_to(target):
        os.makedirs(target, exist_ok=True)
    with _lock(target):
        if not os.path.exists(os.path.join(target, info_lib.COMPLETED)):
            _copy_description(folder, target, content)
        if with_shards:
            _copy_shards(folder, target, info)
    return target


def _read_info(folder: str) -> tuple[str, Info]:
    if not filesystem.is_file(f"{folder}/{info_lib.COMPLETED}"):
        raise info_lib.unfinished(folder)
    path = f"{folder}/{info_lib.INFO}"
    content = filesystem.read_bytes(path).decode("utf-8", "replace")
    return content, info_lib.parse_info(content, path)


def _cache_folder(folder: str, content: str, cache_dir: str) -> str:
    """Returns the copy's folder: its name is of the source and of what info.json holds."""
    cache = filesystem.normalize(cache_dir) or filesystem.cache_folder("records")
    name = folder.rpartition("/")[2]
    return os.path.join(cache, f"{name}-{hashing.digest_of([folder, content])}")


@contextlib.contextmanager
def _lock(target: str) -> Iterator[None]:
    """Waits until no other process copies into `target`; a killed process holds no lock."""
    with open(os.path.join(target, _LOCK), "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logging.info("%s: waiting for another process that copies these records", target)
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:  # Some network filesystems have no locks; renames are atomic.
            logging.warning("%s: copied without a lock (%s)", target, one_line(error))
        yield


def _missing(target: str, info: Info) -> dict[str, tuple[int, str]]:
    """Returns size in bytes and digest by name of the shards that are not there in full."""
    missing = {}
    for split, values in info.splits.items():
        for path, _ in shards(target, info, split):
            index = shard_index(path)
            size, digest = values["shard_bytes"][index], values["shard_digests"][index]
            if not os.path.isfile(path) or os.path.getsize(path) != size:
                missing[os.path.basename(path)] = size, digest
    return missing


def _copy_description(folder: str, target: str, content: str) -> None:
    """Copies info.json and the vocabulary, and writes the file COMPLETED last."""
    path = os.path.join(target, info_lib.VOCABULARY)
    with filesystem.writing_to(path), filesystem.replacing(path) as temporary:
        filesystem.download(f"{folder}/{info_lib.VOCABULARY}", temporary)
    filesystem.write_text(os.path.join(target, info_lib.INFO), content)
    filesystem.write_text(os.path.join(target, info_lib.COMPLETED), "")


def _copy_shards(folder: str, target: str, info: Info) -> None:
    """Copies the shards that are missing, several at a time."""
    missing = _missing(target, info)
    if not missing:
        return
    for path in glob.glob(os.path.join(glob.escape(target), f"{filesystem.TEMPORARY}*")):
        os.remove(path)  # A process that was killed left it.
    total = sum(sum(values["shard_bytes"]) for values in info.splits.values())
    needed = sum(size for size, _ in missing.values())
    _check_space(target, needed)
    logging.info("%s: copying %.1f MB to %s", folder, needed / 1e6, target)
    with (
        progress.bar("copy", "B", total, initial=total - needed, unit_scale=True) as bar,
        ThreadPoolExecutor(_DOWNLOADS, "copy") as threads,
    ):
        copies = [
            threads.submit(_copy_shard, folder, target, name, *expected, info.compression, bar)
            for name, expected in missing.items()
        ]
        try:
            for copy in copies:
                copy.result()
        except BaseException:
            threads.shutdown(cancel_futures=True)
            raise


def _check_space(target: str, needed: int) -> None:
    free = shutil.disk_usage(target).free
    if needed > free:
        raise UserError(
            f"{target}: {needed / 1e9:,.1f} GB of records do not fit into the {free / 1e9:,.1f} GB "
            "that are free; choose another disk with config.records.cache_dir"
        )


def _copy_shard(
    folder: str, target: str, name: str, size: int, digest: str, compression: str, bar: tqdm.tqdm
) -> None:
    source, path = f"{folder}/{name}", os.path.join(target, name)
    with filesystem.replacing(path) as temporary:
        with filesystem.writing_to(path):
            filesystem.download(source, temporary, bar.update)
        found = os.path.getsize(temporary), _digest(temporary, compression)
        if found != (size, digest):
            raise UserError(
                f"{source} has {found[0]} bytes with digest {found[1]}, info.json says {size} with "
                f"{digest}: delete it and run `imcap records` again"
            )


def _digest(path: str, compression: str) -> str:
    """Returns the digest of a shard's records; what cannot be read has none."""
    try:
        return read_digest(path, compression)[0]
    except tf.errors.OpError as error:
        return f"none ({one_line(error)})"
