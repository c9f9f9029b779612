"""Lines, CSV and JSON as text files have them, flaws included."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imcap.datasets import Problems, text_rows
from imcap.errors import UserError

IMAGES = ["Images/a.jpg", "Images/b.jpg"]
COCO_CAPTIONS = "annotations/captions_val2017.json"


@pytest.mark.parametrize(
    ("row", "caption"),
    [
        ('a.jpg,"Hi", he says', '"Hi", he says'),
        ('a.jpg,"Hi" he says', '"Hi" he says'),
        ('a.jpg,"Hi he says', '"Hi he says'),
        ('a.jpg,He says "hi', 'He says "hi'),
        ('"a.jpg","A, b"', "A, b"),
    ],
)
def test_a_stray_quote_stays_in_its_caption(row, caption, make, read):
    make({"captions.txt": f"image,caption\n{row}\na.jpg,The next\n"}, ["Images/a.jpg"])
    (image,), problems = read("flickr8k")
    assert image.captions == (caption, "The next")
    assert problems.lines() == []


def test_byte_order_mark_crlf_blank_lines_and_tabs_in_captions(make, read):
    raw = '\ufeffa.jpg#0\tOne\ttwo "three"\r\n\r\n  \r\nb.jpg#0\tUn café\r\n'
    lists = {"Flickr_8k.trainImages.txt": "\ufeffa.jpg\r\n\r\nb.jpg\r\n"}
    make({"Flickr8k.token.txt": raw, **lists}, IMAGES)
    images, problems = read("flickr8k")
    assert [image.captions[0] for image in images] == ['One\ttwo "three"', "Un café"]
    assert problems.lines() == []


def test_a_line_that_is_not_utf8_is_counted(make, read):
    make({"Flickr8k.token.txt": b"a.jpg#0\tHi\nb.jpg#0\tcaf\xe9\n"}, IMAGES)
    images, problems = read("flickr8k")
    assert [image.image_id for image in images] == ["a.jpg"]
    assert "Flickr8k.token.txt, line 2" in problems.first["lines that are not UTF-8"]


def test_utf16_is_an_error_that_says_so(make, read):
    make({"Flickr8k.token.txt": "a.jpg#0\tHi\n".encode("utf-16")}, IMAGES)
    with pytest.raises(UserError, match=r"Flickr8k\.token\.txt: this is UTF-16"):
        read("flickr8k")


def test_another_kind_of_json_names_the_missing_list(make, read):
    make({COCO_CAPTIONS: '{"images": []}'}, ["val2017/a.jpg"])
    with pytest.raises(UserError, match=r"captions_val2017\.json: there is no list 'annotations'"):
        read("coco")


def test_broken_json_names_file_and_line(make, read):
    make({COCO_CAPTIONS: '{\n"images": [}'}, ["val2017/a.jpg"])
    with pytest.raises(UserError, match=r"captions_val2017\.json, line 2: not JSON"):
        read("coco")


def test_deeply_nested_json_is_a_user_error(make, read):
    make({COCO_CAPTIONS: "[" * 200_000}, ["val2017/a.jpg"])
    with pytest.raises(UserError, match="not JSON"):
        read("coco")


CSV_PIECES = [
    b"a.jpg,",
    b'"',
    b'""',
    b"said",
    b",",
    b"\n",
    b"\r\n",
    b"\n\n",
    b"\xff",
    b'\n"a',
    b'b",',
]


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from(CSV_PIECES), max_size=60),
    st.integers(1, 60),
    st.sampled_from([1, 7, 64]),
    st.integers(1, 5),
)
def test_parts_of_csv_give_the_rows_of_the_whole_file(
    tmp_path, monkeypatch, pieces, size, look_back, max_lines
):
    """Quoted fields span lines, quotes are stray, and lines are broken, wherever a part begins."""
    monkeypatch.setattr(text_rows, "LOOK_BACK", look_back)
    content = b"".join(pieces)
    path = str(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_bytes(content)
    expected, found = Problems(), Problems()
    lines = text_rows.read_part(path, 0, len(content) + 1, expected)
    whole = list(text_rows.csv_rows(lines, ",", max_lines))
    parts = [
        row
        for start in range(0, len(content) + 1, size)
        for row in text_rows.csv_part(path, start, start + size, found, ",", max_lines)
    ]
    assert parts == whole
    assert found.counts == expected.counts


def test_a_part_of_csv_is_read_without_what_lies_far_before_it(tmp_path, monkeypatch):
    rows = [f'{number}.jpg,"two\nlines, “{number}”"\n' for number in range(5_000)]
    (tmp_path / "t.csv").write_text("".join(rows), encoding="utf-8")
    path, size = str(tmp_path / "t.csv"), (tmp_path / "t.csv").stat().st_size
    begins, read_part = [], text_rows.read_part

    def noted(path, start, *others):
        begins.append(start)
        return read_part(path, start, *others)

    monkeypatch.setattr(text_rows, "LOOK_BACK", 4_096)
    monkeypatch.setattr(text_rows, "read_part", noted)
    last = list(text_rows.csv_part(path, size - 100, size, Problems(), ",", 50))
    assert [fields for _, _, fields in last][-1] == ["4999.jpg", "two\nlines, “4999”"]
    assert min(begins) == size - 100 - 4_096
