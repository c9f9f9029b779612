"""WebDataset: images and texts in tar files."""

from __future__ import annotations

import io
import tarfile

import embedded_files
import pytest
from embedded_files import Sample
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imcap import filesystem
from imcap.errors import UserError

SAMPLES = [
    Sample(f"{number:02d}.jpg", bytes([number]) * (600 + number), ["One", f"Number {number}"])
    for number in range(6)
]


@pytest.fixture
def tar(tmp_path):
    """Returns a function that writes the members of one tar file, `x.tar`."""

    def write(*members):
        embedded_files.write_tar(tmp_path / "x.tar", members)
        return tmp_path / "x.tar"

    return write


def test_samples_are_images_with_captions(read, tmp_path):
    embedded_files.write_webdataset(tmp_path / "00000.tar", SAMPLES[:4])
    embedded_files.write_webdataset(tmp_path / "00001.tar", SAMPLES[4:])
    images, problems = read("webdataset", columns={"split": "split"})
    assert [(i.image_id, i.captions, i.split) for i in images] == [
        (s.name, tuple(s.captions), "train") for s in SAMPLES
    ]
    assert [filesystem.read_image(i.path) for i in images] == [s.content for s in SAMPLES]
    assert problems.lines() == []


def test_a_packed_folder_is_read_whatever_the_order(read, tar):
    tar(
        ("./set/a.txt", b"One\n\nTwo\r\n"), ("./set/b.PNG", b"b"), ("./set/._a.jpg", b"macOS"),
        ("./set/a.jpg", b"a"), ("./set/b.txt", b"Three"), ("./set/notes.md", b"?"),
    )  # fmt: skip
    images, problems = read("webdataset")
    found = [(image.image_id, image.captions) for image in images]
    assert found == [("set/b.PNG", ("Three",)), ("set/a.jpg", ("One", "Two"))]
    assert problems.lines() == []


def test_json_names_id_and_caption_and_the_text_stands_in(read, tar):
    tar(
        ("a.jpg", b"a"), ("a.json", b'{"n": 7, "said": ["One", "Two"]}'), ("a.txt", b"Text"),
        ("b.jpg", b"b"), ("b.json", b'{"n": 8, "said": null}'), ("b.txt", b"Text"),
    )  # fmt: skip
    images, _ = read("webdataset", columns={"id": "n", "caption": "said"})
    found = [(image.image_id, image.captions) for image in images]
    assert found == [("7", ("One", "Two")), ("8", ("Text",))]


def test_what_is_left_out_is_counted_by_kind(read, tar):
    tar(
        ("a.jpg", b"a"), ("a.txt", b"One"), ("b.jpg", b"b"), ("c.txt", b"No image"),
        ("d.jpg", b"d"), ("d.txt", b"\xff"), ("e.jpg", b"e"), ("e.json", b"[1"),
        ("f.jpg", b""), ("f.txt", b"Empty"),
    )  # fmt: skip
    images, problems = read("webdataset")
    assert [image.image_id for image in images] == ["a.jpg", "f.jpg"]
    assert problems.counts == {
        "text files without an image": 1,
        "text files that are not UTF-8": 1,
        "JSON files that hold no object": 1,
        "empty captions": 3,
        "images without captions": 3,
    }


@pytest.mark.parametrize("cut", [1500, 2048, 2600])
def test_a_truncated_tar_gives_what_is_before_its_end(read, tmp_path, cut):
    path = tmp_path / "x.tar"
    embedded_files.write_webdataset(path, SAMPLES)
    whole = path.read_bytes()
    (start,) = (whole.find(sample.content) for sample in SAMPLES[2:3])
    path.write_bytes(whole[: start + cut])
    images, problems = read("webdataset")
    assert [image.image_id for image in images][:2] == ["00.jpg", "01.jpg"]
    assert problems.first["tar files that end too early"].startswith(f"{path}, byte ")


@pytest.mark.parametrize("mode", ["w:gz", "text"])
def test_what_is_no_plain_tar_is_refused_in_one_line(read, tmp_path, mode):
    path = tmp_path / "x.tar"
    if mode == "text":
        path.write_text("no tar " * 200)
    else:
        tarfile.open(path, mode).close()
    with pytest.raises(UserError, match=r"x\.tar: not a tar file that can be read .*unpacked"):
        read("webdataset")


def tar_bytes() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in (("a.jpg", b"image"), ("a.txt", b"Hi"), ("a.json", b"{}")):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()[: 6 * 512]


PIECES = [tar_bytes()[512 * block :][:512] for block in range(6)] + [bytes(512), b"\xff" * 512]
_HUGE = tarfile.TarInfo("huge.jpg")
_HUGE.size = 1 << 70
PIECES.append(_HUGE.tobuf(tarfile.GNU_FORMAT))


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(PIECES) | st.binary(max_size=600), max_size=9))
def test_random_blocks_are_read_or_counted_or_a_user_error(read, tmp_path, blocks):
    (tmp_path / "x.tar").write_bytes(b"".join(blocks))
    try:
        images, _ = read("webdataset")
    except UserError as error:
        assert str(tmp_path) in str(error)
        assert "\n" not in str(error)
    else:
        # With `huge.jpg` there is no more text: it ends the tar.
        assert [image.image_id for image in images] == ["a.jpg"]
