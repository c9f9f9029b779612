"""Images by path and by address, local and in a bucket."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import embedded_files
import memory_files
import pytest
from embedded_files import Sample

from imcap import filesystem
from imcap.errors import UserError

CONTENTS = [bytes([number]) * (100 + number) for number in range(40)]


@pytest.fixture
def addresses(tmp_path):
    """Returns a function: the addresses of CONTENTS in a Parquet file with four row groups."""

    def make(folder: str) -> list[str]:
        samples = [Sample(f"{number}.jpg", c) for number, c in enumerate(CONTENTS)]
        embedded_files.write_hugging_face(tmp_path / "x.parquet", samples, row_group_size=10)
        starts = [sum(map(len, CONTENTS[i // 10 * 10 : i])) for i in range(len(CONTENTS))]
        return [
            filesystem.address(
                f"{folder}/x.parquet", start, len(content), group=index // 10, column="image"
            )
            for index, (start, content) in enumerate(zip(starts, CONTENTS, strict=True))
        ]

    return make


def test_a_path_is_read_whole_and_an_address_in_part(tmp_path):
    path = tmp_path / "a#1+2.jpg"
    path.write_bytes(b"0123456789")
    assert filesystem.read_image(str(path)) == b"0123456789"
    assert filesystem.read_image(filesystem.address(str(path), 3, 4)) == b"3456"
    with pytest.raises(UserError, match=r"a#1\+2\.jpg: it ends before byte 12"):
        filesystem.read_image(filesystem.address(str(path), 8, 4))


def test_an_address_in_a_bucket_reads_no_more_than_the_image(bucket):
    bucket["memory://data/x.tar"] = b"0123456789"
    assert filesystem.read_image("memory://data/x.tar#3+4") == b"3456"
    with pytest.raises(UserError, match=r"memory://data/x\.tar: it ends before byte 12"):
        filesystem.read_image("memory://data/x.tar#8+4")


def test_images_in_sequence_are_fetched_once_through_a_small_buffer(bucket, monkeypatch, tmp_path):
    images = [bytes([number]) * 1_000 for number in range(60)]
    content = b"".join(b"." * 512 + image for image in images)
    path, local = "memory://data/x.tar", tmp_path / "x.tar"
    bucket[path] = content
    local.write_bytes(content)
    fetched = memory_files.meter(monkeypatch, 16_384)
    for place in (path, str(local)):
        with filesystem.InSequence(place) as sequence:
            for number, image in enumerate(images):
                address = filesystem.address(place, 1_512 * number + 512, 1_000)
                assert sequence.read(address) == image
            with pytest.raises(UserError, match=r"x\.tar: it ends before byte"):
                sequence.read(filesystem.address(place, len(content) - 1, 2))
            with pytest.raises(UserError, match=r"y\.tar#3\+4: not an image in .*x\.tar"):
                sequence.read("y.tar#3+4")
    assert sum(fetched) < len(content) + 2 * 16_384
    assert max(fetched) <= 16_384


def test_compressed_images_in_sequence_are_read_with_one_pass(addresses, tmp_path):
    found = addresses(str(tmp_path))
    with filesystem.InSequence(f"{tmp_path}/x.parquet") as sequence:
        for number in (3, 7, 9, 10, 35, 39):
            assert sequence.read(found[number]) == CONTENTS[number]
        with pytest.raises(UserError, match="row group 3 has no image at"):
            sequence.read(found[36])  # It lies before one that has been read.


def test_a_bucket_that_fails_while_it_is_read_is_a_user_error(
    addresses, tmp_path, bucket, monkeypatch
):
    found = addresses("memory://data")[0]
    bucket["memory://data/x.parquet"] = (tmp_path / "x.parquet").read_bytes()
    memory_files.meter(monkeypatch, 4_096)

    def fail(self, buffer: bytearray) -> int:
        raise RuntimeError("403 Forbidden")  # Each cloud's library has exceptions of its own.

    monkeypatch.setattr(memory_files.Metered, "readinto", fail)
    for place in (found, "memory://data/x.parquet#3+4"):
        with (
            filesystem.InSequence("memory://data/x.parquet") as images,
            pytest.raises(UserError, match=r"x\.parquet: cannot be read \(403 Forbidden\)"),
        ):
            images.read(place)


@pytest.mark.parametrize("place", ["local", "memory://data"])
def test_compressed_images_are_read_in_any_order(addresses, tmp_path, bucket, place):
    folder = str(tmp_path) if place == "local" else place
    found = addresses(folder)
    if place != "local":
        bucket[f"{folder}/x.parquet"] = (tmp_path / "x.parquet").read_bytes()
    order = [7 * number % 40 for number in range(40)]
    with ThreadPoolExecutor(4) as threads:
        for unpacked in ("", f"{folder}/unpacked"):
            images = threads.map(lambda n, to=unpacked: filesystem.read_image(found[n], to), order)
            assert list(images) == [CONTENTS[n] for n in order]
    assert len(filesystem.match(f"{folder}/unpacked/*{filesystem.UNPACKED}")) == 4


def test_a_row_group_is_unpacked_once(addresses, tmp_path):
    found = addresses(str(tmp_path))
    assert filesystem.read_image(found[3], f"{tmp_path}/unpacked") == CONTENTS[3]
    os.remove(tmp_path / "x.parquet")
    assert filesystem.read_image(found[9], f"{tmp_path}/unpacked") == CONTENTS[9]
    with pytest.raises(UserError, match=r"x\.parquet: row group 1 cannot be read \(.*No such file"):
        filesystem.read_image(found[10], f"{tmp_path}/unpacked")
