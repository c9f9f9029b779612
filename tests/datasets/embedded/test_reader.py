"""What holds for every kind of file that holds images and captions."""

from __future__ import annotations

import gzip

import embedded_files
import memory_files
import pytest
from embedded_files import Sample
from refusals import refusal

from imcap import datasets, filesystem
from imcap.errors import UserError

SAMPLES = [Sample(f"{number}.jpg", bytes([number])) for number in range(6)]
KINDS = ("webdataset", "tfrecord")


@pytest.fixture
def write(tmp_path):
    """Returns a function: writes samples to a file of the kind that a reader reads."""

    def run(kind, name, samples):
        writer, ending = {
            "webdataset": (embedded_files.write_webdataset, "tar"),
            "tfrecord": (embedded_files.write_tfrecords, "tfrecord"),
        }[kind]
        writer(tmp_path / f"{name}.{ending}", samples)

    return run


def fields(kind, **columns):
    if kind == "tfrecord":
        columns |= {"image": "jpg", "id": "key"}
    return {"columns": columns}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("names", ["{}-0", "{}/0"])
def test_the_names_of_files_and_folders_split(read, write, kind, names):
    write(kind, names.format("train"), SAMPLES[:4])
    write(kind, names.format("val"), SAMPLES[4:])
    images, _ = read(kind, **fields(kind))
    assert [image.split for image in images] == ["train"] * 4 + ["dev"] * 2


@pytest.mark.parametrize("kind", KINDS)
def test_files_without_a_split_s_name_are_split_by_ratio(read, write, kind):
    write(kind, "train-0", SAMPLES[:3])
    write(kind, "more", SAMPLES[3:])
    images, _ = read(kind, ratios=(0.0, 0.0, 1.0), **fields(kind))
    assert [image.split for image in images] == ["test"] * 6


@pytest.mark.parametrize("kind", KINDS)
def test_a_split_that_is_no_name_is_counted(read, write, kind):
    column = {"webdataset": "split", "tfrecord": "part"}[kind]
    write(kind, "x", [*SAMPLES[:2], SAMPLES[2]._replace(split="a/b")])
    images, problems = read(kind, **fields(kind, split=column))
    assert len(images) == 2
    assert problems.counts == {"rows without a usable split": 1}


@pytest.mark.parametrize("kind", KINDS)
def test_files_are_chosen_by_name_or_pattern(read, write, kind):
    write(kind, "sub/a", SAMPLES[:2])
    write(kind, "sub/b", SAMPLES[2:3])
    assert len(read(kind, captions="sub/a*", **fields(kind))[0]) == 2
    ending = {"webdataset": "tar", "tfrecord": "tfrecord"}[kind]
    assert len(read(kind, captions=f"sub/b.{ending}", **fields(kind))[0]) == 1
    with pytest.raises(UserError, match=r"there is no file .*none"):
        read(kind, captions="none", **fields(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_excluded_images_are_left_out(read, write, make, kind, tmp_path):
    write(kind, "x", SAMPLES)
    make({"list.txt": "0\n3.jpg\n"})
    images, problems = read(kind, exclude=str(tmp_path / "list.txt"), **fields(kind))
    assert [image.image_id for image in images] == ["1.jpg", "2.jpg", "4.jpg", "5.jpg"]
    assert problems.counts == {"images excluded by list.txt": 2}


@pytest.mark.parametrize("kind", KINDS)
def test_each_file_is_a_part(write, kind, tmp_path):
    for number in range(3):
        write(kind, str(number), SAMPLES[number:][:1])
    reader = datasets.build_reader({"name": kind, "dir": str(tmp_path), **fields(kind)})
    found = [
        [e.image_id for _, e in reader.entries(p, datasets.Problems())] for p in reader.parts()
    ]
    assert found == [["0.jpg"], ["1.jpg"], ["2.jpg"]]
    assert reader.first().image_id == "0.jpg"


@pytest.mark.usefixtures("bucket")
@pytest.mark.parametrize("kind", KINDS)
def test_files_in_a_bucket_are_read(write, kind, tmp_path):
    write(kind, "x", SAMPLES)
    memory_files.upload(tmp_path, "memory://data/set")
    reader = datasets.build_reader({"name": kind, "dir": "memory://data/set", **fields(kind)})
    images = list(reader.read(datasets.Problems()))
    assert [filesystem.read_image(image.path) for image in images] == [s.content for s in SAMPLES]
    assert all(image.path.startswith("memory://data/set/x.t") for image in images)


@pytest.mark.usefixtures("bucket")
@pytest.mark.parametrize("kind", [*KINDS, "csv", "csv.gz", "parquet"])
def test_a_bucket_that_fails_is_an_error_of_one_line(write, make, kind, tmp_path, monkeypatch):
    if kind in KINDS:
        write(kind, "x", SAMPLES)
    elif kind == "parquet":
        embedded_files.write_hugging_face(tmp_path / "x.parquet", SAMPLES)
    else:
        make({f"x.{kind}": gzip.compress(b"image,caption\n")})
    memory_files.upload(tmp_path, "memory://data/set")
    memory_files.meter(monkeypatch, 4_096)

    def fail(self, buffer: bytearray) -> int:
        raise RuntimeError("403 Forbidden")  # Each cloud's library has exceptions of its own.

    monkeypatch.setattr(memory_files.Metered, "readinto", fail)
    config = {"name": kind if kind in KINDS else "table", "dir": "memory://data/set"}

    def read() -> None:
        list(datasets.build_reader({**config, **fields(kind)}).read(datasets.Problems()))

    assert refusal(read).startswith("memory://data/set/x.")


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_without_files_says_what_was_looked_for(read, make, kind):
    make(images=["a.jpg"])
    line = refusal(read, kind)
    assert "here; looked for *.t" in line
    assert line.endswith("name them with config.dataset.captions")
