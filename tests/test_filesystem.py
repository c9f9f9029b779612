"""Paths, listing, reading and atomic writing, local and in a bucket."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from refusals import refusal

from imcap import filesystem
from imcap.errors import UserError

pytestmark = pytest.mark.usefixtures("bucket")


@pytest.mark.parametrize(
    ("path", "normal"),
    [
        ("", ""),
        ("a/", "a"),
        ("./a/../b//c", "b/c"),
        ("/", "/"),
        ("s3://bucket/set/", "s3://bucket/set"),
    ],
)
def test_normalize_gives_one_spelling(path, normal):
    assert filesystem.normalize(path) == normal


def test_normalize_replaces_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    assert filesystem.normalize("~/x/") == "/home/someone/x"


@pytest.mark.parametrize(
    ("path", "folder", "relative"),
    [
        ("/data/a.jpg", "/data", "a.jpg"),
        ("/data/sub/a.jpg", "/data/x/../", "sub/a.jpg"),
        ("data/a.jpg", "./data/", "a.jpg"),
        ("a.jpg", ".", "a.jpg"),
        ("../a.jpg", ".", "../a.jpg"),
        ("/elsewhere//a.jpg", "/data", "/elsewhere//a.jpg"),
        ("/database/a.jpg", "/data", "/database/a.jpg"),
        ("/a.jpg", "/", "a.jpg"),
        ("s3://b/set/a.jpg", "s3://b/set/", "a.jpg"),
        ("/data/a.jpg", "", "/data/a.jpg"),
    ],
)
def test_below_is_relative_to_the_folder_in_any_spelling(path, folder, relative):
    assert filesystem.relative_to(path, folder) == relative


@pytest.mark.parametrize(
    ("name", "is_image"),
    [("a.jpg", True), ("a.JPEG", True), ("._a.jpg", False), ("a.txt", False), ("jpg", False)],
)
def test_is_image_goes_by_the_extension(name, is_image):
    assert filesystem.is_image(name) == is_image


def test_folders_are_those_directly_below(tmp_path):
    for name in ("b", "a/inner", ".hidden"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "file").write_text("")
    assert filesystem.folders(str(tmp_path)) == ["a", "b"]


def test_folders_of_a_bucket_are_the_names_up_to_the_slash(bucket):
    for name in ("b/1.jpg", "a/x/2.jpg", "file", ".hidden/3.jpg"):
        bucket[f"memory://set/{name}"] = b"x"
    assert filesystem.folders("memory://set/") == ["a", "b"]


def test_match_takes_the_folder_literally(tmp_path):
    folder = tmp_path / "set [1]"
    folder.mkdir()
    (folder / "part-0.csv").write_text("")
    assert filesystem.match("part-*.csv", str(folder)) == [str(folder / "part-0.csv")]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[" * 100_000])
def test_read_json_of_garbage_is_none(tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    assert filesystem.read_json(str(tmp_path / "x.json")) is None


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000])
def test_a_name_that_no_file_can_have_is_no_file(tmp_path, name):
    assert filesystem.file_names(str(tmp_path / name)) == frozenset()
    assert not filesystem.is_file(str(tmp_path / name))


def test_written_text_replaces_the_file_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "x.txt"
    for content in ("one", "two é \udcff"):
        filesystem.write_text(str(path), content)
    assert path.read_bytes() == b"two \xc3\xa9 \xff"
    assert os.listdir(tmp_path) == ["x.txt"]


def test_a_block_that_raises_leaves_the_old_file(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("old")
    with (
        pytest.raises(KeyError),
        filesystem.replacing(str(path)) as temporary,
        open(temporary, "w") as file,
    ):
        file.write("half")
        raise KeyError("x")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["x.txt"]


def test_readers_see_the_old_file_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("old")
    with filesystem.replacing(str(path)) as temporary, open(temporary, "w") as file:
        file.write("new")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_a_folder_appears_whole(tmp_path):
    path = tmp_path / "export"
    with filesystem.replacing(str(path)) as temporary:
        os.makedirs(os.path.join(temporary, "assets"))
        (tmp_path / temporary / "assets" / "a").write_text("x")
        assert not path.exists()
    assert (path / "assets" / "a").read_text() == "x"
    assert os.listdir(tmp_path) == ["export"]


def test_file_and_folder_are_synced_around_the_rename(tmp_path, monkeypatch):
    calls = []
    real_sync, real_replace = os.fsync, os.replace

    def sync(descriptor):
        kind = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        calls.append(f"sync {kind}")
        real_sync(descriptor)

    def replace(source, target):
        calls.append("rename")
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", replace)
    filesystem.write_text(str(tmp_path / "x"), "x")
    assert calls == ["sync file", "rename", "sync folder"]
    del calls[:]
    filesystem.write_text(str(tmp_path / "x"), "x", durable=False)
    assert calls == ["rename"]


def test_a_folder_that_is_not_there_is_a_user_error(tmp_path):
    path = str(tmp_path / "none" / "x.txt")
    with pytest.raises(UserError, match=r"none/x\.txt cannot be written: No such file"):
        filesystem.write_text(path, "x")


def test_a_file_in_place_of_the_folder_is_a_user_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written: Not a directory"):
        filesystem.write_json(str(tmp_path / "file" / "x.json"), {})


def test_a_folder_in_place_of_the_file_is_a_user_error(tmp_path):
    (tmp_path / "x").mkdir()
    with pytest.raises(UserError, match="cannot be written: Is a directory"):
        filesystem.write_text(str(tmp_path / "x"), "x")
    assert os.listdir(tmp_path) == ["x"]


def test_remote_files_are_written_whole_and_replaced(bucket):
    for content in ("one", "two"):
        filesystem.write_text("memory://out/x.txt", content)
    assert bucket == {"memory://out/x.txt": b"two"}


def test_a_remote_block_that_raises_writes_nothing(bucket):
    with pytest.raises(KeyError), filesystem.replacing("memory://out/x") as temporary:
        with open(temporary, "w") as file:
            file.write("half")
        raise KeyError("x")
    assert bucket == {}
    assert not os.path.exists(temporary)


def test_an_unknown_scheme_is_a_user_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="nothing://x cannot be written: Unable to get filesystem"):
        filesystem.write_text("nothing://x", "x")
    with pytest.raises(UserError, match=r"nothing://x: cannot be read"):
        filesystem.read_bytes("nothing://x")
    assert os.listdir(tmp_path) == []


def test_download_copies_a_remote_file_and_reports_its_bytes(tmp_path, bucket):
    bucket["memory://out/x"] = b"content"
    seen = []
    filesystem.download("memory://out/x", str(tmp_path / "x"), seen.append)
    assert (tmp_path / "x").read_bytes() == b"content"
    assert seen == [7]


def test_a_local_copy_is_removed_after_use(bucket):
    bucket["memory://out/x.bin"] = b"content"
    with filesystem.local_copy("memory://out/x.bin") as path:
        assert Path(path).read_bytes() == b"content"
    assert not os.path.exists(path)


def test_a_local_file_needs_no_copy(tmp_path):
    with filesystem.local_copy(str(tmp_path / "x")) as path:
        assert path == str(tmp_path / "x")


def test_a_folder_that_may_not_be_listed_is_refused(tmp_path, monkeypatch):
    def denied(path: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr("os.scandir", denied)
    expected = f"{tmp_path}: this folder cannot be listed: Permission denied"
    assert refusal(list, filesystem.walk(str(tmp_path))) == expected
    assert refusal(filesystem.folders, str(tmp_path)) == expected


def test_arrays_are_written_whole_and_the_same_bytes(tmp_path):
    arrays = {"numbers": np.arange(6, dtype=np.int16).reshape(2, 3), "name": np.array("x")}
    for name in ("a.npz", "b.npz"):
        filesystem.write_arrays(str(tmp_path / name), arrays)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["a.npz", "b.npz"]
    found = filesystem.read_arrays(str(tmp_path / "a.npz"))
    assert found is not None and found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


def test_arrays_that_are_missing_or_corrupted_are_none(tmp_path):
    path = str(tmp_path / "a.npz")
    assert filesystem.read_arrays(path) is None
    filesystem.write_arrays(path, {"numbers": np.arange(500)})
    content = Path(path).read_bytes()
    for broken in (b"", b"no file of arrays", content[:-30], content[:300] + content[400:]):
        Path(path).write_bytes(broken)
        assert filesystem.read_arrays(path) is None


def test_arrays_of_objects_are_not_written(tmp_path):
    with pytest.raises(ValueError, match="Object arrays"):
        filesystem.write_arrays(str(tmp_path / "a.npz"), {"x": np.array([{}], object)})
    assert os.listdir(tmp_path) == []
