"""Remote records are copied once into a local cache, verified."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import landscapes
import memory_files
import outputs
import pytest
from refusals import refusal

from beam_jobs import build_records
from imcap import filesystem, inspect_records
from imcap.records import staging

REMOTE = "memory://out/records"
SHARD = "train-00001-of-00002.tfrecord"


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A folder of finished records of 24 images."""
    folder = tmp_path_factory.mktemp("finished")
    config = landscapes.make_records_config(folder, landscapes.write_images(folder / "data"))
    build_records.build_records(config)
    return Path(config.records.dir)


@pytest.fixture(autouse=True)
def uploaded(bucket, finished):
    memory_files.upload(finished, REMOTE)
    return bucket


@pytest.fixture
def cache(tmp_path) -> str:
    return str(tmp_path / "cache")


@pytest.fixture
def downloads(monkeypatch) -> list[str]:
    """The names of the files that are downloaded, in any order."""
    names: list[str] = []
    download = filesystem.download

    def record(path, *args):
        names.append(path.rpartition("/")[2])
        download(path, *args)

    monkeypatch.setattr(filesystem, "download", record)
    return names


def shards(folder) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(Path(folder).glob("*.tfrecord"))}


@pytest.mark.parametrize("folder", ["/data/records", "records", "gs://bucket/records"])
def test_what_tensorflow_reads_is_not_copied(folder, cache):
    assert staging.local_folder(folder, cache) == folder
    assert not os.path.exists(cache)


def test_the_copy_is_the_remote_folder(finished, cache):
    folder = staging.local_folder(REMOTE + "/", cache)
    assert shards(folder) == shards(finished)
    for name in ("info.json", "vocab.txt"):
        assert Path(folder, name).read_bytes() == Path(finished, name).read_bytes()
    assert inspect_records.inspect_records(folder)


def test_the_default_cache_is_below_the_user_s_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = staging.local_folder(REMOTE)
    assert os.path.dirname(folder) == str(tmp_path / "imcap" / "records")


def test_a_second_call_downloads_nothing(cache, downloads):
    folder = staging.local_folder(REMOTE, cache)
    before = outputs.identities(folder)
    del downloads[:]
    assert staging.local_folder(REMOTE, cache) == folder
    assert downloads == []
    assert outputs.identities(folder) == before


def test_without_shards_only_the_description_is_copied(cache, downloads):
    folder = staging.local_folder(REMOTE, cache, with_shards=False)
    assert downloads == ["vocab.txt"]
    assert shards(folder) == {}
    staging.local_folder(REMOTE, cache)
    assert shards(folder)


def test_an_interrupted_copy_is_completed(finished, cache, downloads, monkeypatch):
    counted = filesystem.download

    def fail(path, *args):
        if path.endswith(SHARD):
            raise KeyboardInterrupt
        counted(path, *args)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(filesystem, "download", fail)
        staging.local_folder(REMOTE, cache)
    (folder,) = Path(cache).iterdir()
    done = outputs.identities(folder)
    assert SHARD not in done
    (folder / "tmp-0-half.tfrecord").write_bytes(b"left by a killed process")
    del downloads[:]
    assert staging.local_folder(REMOTE, cache) == str(folder)
    assert SHARD in downloads
    assert not done.keys() & set(downloads)
    assert shards(folder) == shards(finished)
    assert not list(folder.glob("tmp-*"))


@pytest.mark.parametrize("change", [lambda b: b[:-1] + b"?", lambda b: b[:-9], lambda b: b"x"])
def test_a_shard_that_is_not_what_info_says_is_refused(uploaded, cache, change):
    uploaded[f"{REMOTE}/{SHARD}"] = change(uploaded[f"{REMOTE}/{SHARD}"])
    line = refusal(staging.local_folder, REMOTE, cache)
    assert f"{REMOTE}/{SHARD} has" in line
    assert "delete it and run `imcap records` again" in line
    (folder,) = Path(cache).iterdir()
    assert not (folder / SHARD).exists()


def test_new_records_get_another_copy(uploaded, cache):
    first = staging.local_folder(REMOTE, cache)
    uploaded[f"{REMOTE}/info.json"] += b" "
    assert staging.local_folder(REMOTE, cache) != first
    assert shards(first)


def test_processes_that_start_together_copy_once(cache, downloads):
    barrier = threading.Barrier(3)

    def stage(_):
        barrier.wait()
        return staging.local_folder(REMOTE, cache)

    with ThreadPoolExecutor(3) as threads:
        folders = set(threads.map(stage, range(3)))
    assert len(folders) == 1
    assert len(downloads) == len(set(downloads))


def test_unfinished_records_are_refused(uploaded, cache):
    del uploaded[f"{REMOTE}/COMPLETED"]
    assert "holds no finished records" in refusal(staging.local_folder, REMOTE, cache)


def test_a_scheme_that_nothing_reads_is_refused(cache):
    assert "Unable to get filesystem" in refusal(staging.local_folder, "nothing://x", cache)


def test_a_cache_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    line = refusal(staging.local_folder, REMOTE, str(tmp_path / "file"))
    assert "cannot be written: Not a directory" in line


def test_a_full_disk_is_refused_before_the_copy(cache, downloads, monkeypatch):
    usage = staging.shutil.disk_usage("/")
    monkeypatch.setattr(staging.shutil, "disk_usage", lambda _: usage._replace(free=10))
    line = refusal(staging.local_folder, REMOTE, cache)
    assert "config.records.cache_dir" in line
    assert downloads == ["vocab.txt"]
