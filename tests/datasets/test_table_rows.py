"""The rows of a table: columns, delimiters and quotes."""

from __future__ import annotations

import json

import pytest
from sample_tables import CONTENTS, EXPECTED, IMAGES, NAMED, delimited, parquet_bytes

from imcap.errors import UserError


@pytest.mark.parametrize("name", ["t.jsonl", "t.parquet"])
def test_a_row_may_hold_a_list_of_captions(name, make, read):
    rows = [{"image": "a.jpg", "caption": ["One", " ", "Two"]}]
    content = parquet_bytes(rows) if name == "t.parquet" else json.dumps(rows[0]).encode()
    make({name: content}, IMAGES)
    (image,), problems = read("table")
    assert (image.image_id, image.captions) == ("a.jpg", ("One", "Two"))
    assert problems.counts == {"empty captions": 1}


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
