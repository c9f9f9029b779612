"""Tables: CSV, TSV, JSON Lines, Parquet, and gzipped text."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sample_tables import CONTENTS, EXPECTED, IMAGES, NAMED

from imcap.errors import UserError


@pytest.mark.parametrize("name", CONTENTS)
def test_every_format_gives_the_same_images_with_their_rows_grouped(name, make, read):
    make({name: CONTENTS[name]}, IMAGES)
    images, problems = read("table", columns=NAMED)
    assert [(i.image_id, i.split, i.captions) for i in images] == EXPECTED
    assert [image.path.split("/")[-1] for image in images] == ["a.jpg", "b.jpg", "c.jpg"]
    assert problems.lines() == []


def test_without_a_split_column_a_ratio_splits(make, read):
    make({"t.csv": "image,caption\na.jpg,Hi\n"}, IMAGES)
    assert read("table", ratios=(0.0, 1.0, 0.0))[0][0].split == "dev"
    assert read("table", ratios={"test": 1.0})[0][0].split == "test"


def test_integer_ids_are_strings_in_the_end(make, read):
    make({"t.jsonl": '{"image": "a.jpg", "caption": "Hi", "n": 12}'}, IMAGES)
    assert read("table", columns={"id": "n"})[0][0].image_id == "12"


def test_what_is_left_out_is_counted_by_kind(make, read):
    table = (
        "key,file,part,text\n1,a.jpg,train,Hi\n1,sub/b.jpg,train,Other\n1,a.jpg,dev,Other\n"
        "2,gone.jpg,train,Hi\n,a.jpg,train,Hi\n3,a.jpg,,Hi\n3,a.jpg,a/b,Hi\n4,c.jpg,train,\nx\n"
    )
    make({"t.csv": table}, IMAGES)
    images, problems = read("table", columns=NAMED)
    assert [(image.image_id, image.split) for image in images] == [("1", "train")]
    assert problems.counts == {
        "rows that give an id another image or split": 2,
        "missing images": 1,
        "rows without an image name": 1,
        "rows without a usable split": 2,
        "empty captions": 1,
        "malformed rows": 1,
        "images without captions": 1,
    }


def test_missing_images_count_once_with_the_paths_tried(make, read, tmp_path):
    rows = "gone.jpg,One\ngone.jpg,Two\na.jpg,Hi\nnone.jpg,Hi\n"
    make({"t.csv": f"image,caption\n{rows}"}, IMAGES)
    images, problems = read("table")
    assert [image.image_id for image in images] == ["a.jpg"]
    assert problems.counts == {"missing images": 2}
    assert problems.first["missing images"] == (
        f"gone.jpg (tried {tmp_path}/gone.jpg, {tmp_path}/images/gone.jpg),"
        f" {tmp_path}/t.csv, line 2"
    )


def test_a_cut_off_gzip_file_is_a_user_error(make, read):
    make({"t.csv.gz": CONTENTS["t.csv.gz"][:-12]}, IMAGES)
    with pytest.raises(UserError, match=r"t\.csv\.gz: cannot be read"):
        read("table", columns=NAMED)


def test_a_cut_off_parquet_file_is_a_user_error(make, read):
    make({"t.parquet": CONTENTS["t.parquet"][:-5]}, IMAGES)
    with pytest.raises(UserError, match=r"t\.parquet: not a readable Parquet file"):
        read("table", columns=NAMED)


PIECES = {
    ".csv": [b"image,caption\n", b"a.jpg,", b"Hi\n", b'"', b",", b"\n", b"\r\n", b"\0"],
    ".tsv": [b"image\tcaption\n", b"a.jpg\t", b"Hi\n", b'"', b"\t", b"\n"],
    ".jsonl": [b'{"image": "a.jpg", "caption": ', b'"Hi"}\n', b"[" * 100_000, b'["x", 1]}\n'],
    ".parquet": [b"PAR1", CONTENTS["t.parquet"][:40]],
    ".csv.gz": [gzip.compress(b"image,caption\n"), gzip.compress(b"a.jpg,Hi\n")],
}


@settings(
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.sampled_from(sorted(PIECES)), st.data())
def test_random_bytes_are_read_or_counted_or_a_user_error(make, read, suffix, data):
    piece = st.sampled_from(PIECES[suffix]) | st.binary(max_size=6)
    pieces = data.draw(st.lists(piece, max_size=12))
    if data.draw(st.booleans()):
        pieces.insert(0, PIECES[suffix][0])
    make({f"t{suffix}": b"".join(pieces)}, IMAGES)
    try:
        images, _ = read("table", captions=f"t{suffix}")
    except UserError as error:
        assert f"t{suffix}" in str(error)
    else:
        assert [image.image_id for image in images] == ["a.jpg"]
        assert all(images[0].captions)
