"""Tables: CSV, TSV, JSON Lines, Parquet, and gzipped text."""

from __future__ import annotations

import gzip
import io
import json

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from imcap.datasets import build_reader
from imcap.errors import UserError

IMAGES = ["a.jpg", "sub/b.jpg", "images/c.jpg"]
NAMED = {"image": "file", "caption": "text", "id": "key", "split": "part"}
ROWS = [
    {"key": "1", "file": "a.jpg", "part": "train", "text": "A dog, wet."},
    {"key": "2", "file": "sub/b.jpg", "part": "val", "text": 'A "cat"'},
    {"key": "1", "file": "a.jpg", "part": "train", "text": "Two\tdogs"},
    {"key": "3", "file": "c.jpg", "part": "Test", "text": "A café"},
]
EXPECTED = [
    ("1", "train", ("A dog, wet.", "Two\tdogs")),
    ("2", "dev", ('A "cat"',)),
    ("3", "test", ("A café",)),
]


def delimited(mark):
    """Returns the rows as a table whose fields are quoted as RFC 4180 has it."""
    lines = [mark.join(ROWS[0])]
    for row in ROWS:
        lines.append(mark.join('"' + value.replace('"', '""') + '"' for value in row.values()))
    return "\r\n".join(lines).encode()


def parquet_bytes(rows):
    buffer = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


CONTENTS = {
    "t.csv": delimited(","),
    "t.tsv": delimited("\t"),
    "t.jsonl": "\n".join(map(json.dumps, ROWS)).encode(),
    "t.parquet": parquet_bytes(ROWS),
    "t.csv.gz": gzip.compress(delimited(",")),
    "t.jsonl.gz": gzip.compress("\n".join(map(json.dumps, ROWS)).encode()),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_every_format_gives_the_same_images_with_their_rows_grouped(name, make, read):
    make({name: CONTENTS[name]}, IMAGES)
    images, problems = read("table", columns=NAMED)
    assert [(i.image_id, i.split, i.captions) for i in images] == EXPECTED
    assert [image.path.split("/")[-1] for image in images] == ["a.jpg", "b.jpg", "c.jpg"]
    assert problems.lines() == []


@pytest.mark.parametrize("name", ["t.jsonl", "t.parquet"])
def test_a_row_may_hold_a_list_of_captions(name, make, read):
    rows = [{"image": "a.jpg", "caption": ["One", " ", "Two"]}]
    content = parquet_bytes(rows) if name == "t.parquet" else json.dumps(rows[0]).encode()
    make({name: content}, IMAGES)
    (image,), problems = read("table")
    assert (image.image_id, image.captions) == ("a.jpg", ("One", "Two"))
    assert problems.counts == {"empty captions": 1}


def test_without_a_split_column_a_ratio_splits(make, read):
    make({"t.csv": "image,caption\na.jpg,Hi\n"}, IMAGES)
    assert read("table", ratios=(0.0, 1.0, 0.0))[0][0].split == "dev"
    assert read("table", ratios={"test": 1.0})[0][0].split == "test"


def test_integer_ids_are_strings_in_the_end(make, read):
    make({"t.jsonl": '{"image": "a.jpg", "caption": "Hi", "n": 12}'}, IMAGES)
    assert read("table", columns={"id": "n"})[0][0].image_id == "12"


def test_unquoted_commas_go_to_the_caption_where_it_is_the_last_column(make, read):
    make({"t.csv": "image,caption\na.jpg,A dog, wet\n"}, IMAGES)
    assert read("table")[0][0].captions == ("A dog, wet",)
    make({"t.csv": "caption,image\nA dog, wet,a.jpg\nHi,a.jpg\n"})
    images, problems = read("table")
    assert images[0].captions == ("Hi",)
    assert problems.counts == {"malformed rows": 1}


def test_a_quoted_caption_may_span_lines_but_a_stray_quote_does_not_swallow_the_file(make, read):
    stray = "".join(f"a.jpg,row {number}\n" for number in range(100))
    make({"t.csv": f'image,caption\na.jpg,"two\nlines"\na.jpg,"stray\n{stray}'}, IMAGES)
    (image,), problems = read("table")
    assert image.captions[:3] == ("two\nlines", '"stray', "row 0")
    assert len(image.captions) == 102
    assert problems.lines() == []


def test_a_tab_separated_caption_may_start_with_a_quotation_mark(make, read):
    make({"t.tsv": 'image\tcaption\na.jpg\t"Hi" he says\na.jpg\t"Oh\na.jpg\tno"\n'}, IMAGES)
    assert read("table")[0][0].captions == ('"Hi" he says', '"Oh', 'no"')


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


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_the_delimiter_of_csv_is_told_by_the_header(mark, make, read):
    make({"t.csv": delimited(mark)}, IMAGES)
    images, problems = read("table", columns=NAMED)
    assert [(i.image_id, i.split, i.captions) for i in images] == EXPECTED
    assert problems.lines() == []


def test_a_caption_in_the_last_column_may_hold_the_delimiter(make, read):
    make({"t.csv": "image;caption\na.jpg;A dog; wet, too\n"}, IMAGES)
    assert read("table")[0][0].captions == ("A dog; wet, too",)


@pytest.mark.parametrize(
    ("mark", "name"), [(",", "commas"), (";", "semicolons"), ("\t", "tabs"), ("|", "commas")]
)
def test_a_missing_column_names_the_delimiter_tried(mark, name, make, read):
    make({"t.csv": f"file{mark}text\na.jpg{mark}Hi\n"}, IMAGES)
    with pytest.raises(UserError, match=rf"no column 'image' among .*\(delimited by {name}\)"):
        read("table")


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


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.parquet"])
def test_a_missing_column_names_the_table_and_the_columns_there_are(name, make, read):
    make({name: CONTENTS[name]}, IMAGES)
    with pytest.raises(UserError, match=f"{name}: there is no column 'texts' among 'key'") as error:
        read("table", columns={**NAMED, "caption": "texts"})
    assert "did you mean 'text'?" in str(error.value)


def test_a_misspelt_columns_field_is_an_error(make, read):
    make({"t.csv": "image,caption\na.jpg,Hi\n"}, IMAGES)
    with pytest.raises(UserError, match=r"config\.dataset\.columns: no such field 'captoin'"):
        read("table", columns={"captoin": "x"})


def test_several_tables_must_be_chosen_from(make, read):
    make({"s.csv": "image,caption\na.jpg,S\n", "t.csv": "image,caption\na.jpg,T\n"}, IMAGES)
    with pytest.raises(UserError, match=r"s\.csv, t\.csv here; name the table"):
        read("table")
    assert read("table", captions="t.csv")[0][0].captions == ("T",)


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
    deadline=None,
    derandomize=True,
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


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("{path}, byte 0", "{path}, line 1"),
        ("{path}, byte 4", "{path}, line 2"),
        ("x (tried y), {path}, byte 14", "x (tried y), {path}, line 4"),
        ("{path}, line 14", "{path}, line 14"),
        ("{path}, byte x", "{path}, byte x"),
        ("elsewhere.jsonl, byte 4", "elsewhere.jsonl, byte 4"),
    ],
)
def test_an_offset_becomes_a_line_number(where, expected, make):
    folder = make({"t.jsonl": "one\ntwo\nthree\nfour\n"}, IMAGES)
    reader = build_reader({"name": "table", "dir": folder})
    path = f"{folder}/t.jsonl"
    assert reader.with_line_number(where.format(path=path)) == expected.format(path=path)
