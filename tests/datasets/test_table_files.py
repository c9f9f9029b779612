"""The files of a table, their parts, and the lines that problems stand in."""

from __future__ import annotations

import json

import embedded_files
import pytest
from embedded_files import Sample

from imcap import datasets, filesystem
from imcap.datasets import build_reader, parted, table_files, table_rows
from imcap.errors import UserError


def test_several_tables_must_be_chosen_from(make, read):
    make({"s.csv": "image,caption\na.jpg,S\n", "t.csv": "image,caption\na.jpg,T\n"}, ["a.jpg"])
    with pytest.raises(UserError, match=r"s\.csv, t\.csv here; name the table"):
        read("table")
    assert read("table", captions="t.csv")[0][0].captions == ("T",)


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
    folder = make({"t.jsonl": "one\ntwo\nthree\nfour\n"}, ["a.jpg"])
    reader = build_reader({"name": "table", "dir": folder})
    path = f"{folder}/t.jsonl"
    assert reader.with_line_number(where.format(path=path)) == expected.format(path=path)


@pytest.mark.parametrize("length", [20, 20_000])
def test_the_text_beside_images_of_any_length_is_told(tmp_path, length):
    names = [f"{number:04d}.jpg" for number in range(1_000)]
    text = 1_000 * (len("0000.jpg") + len("A sky.") + len("train"))
    for index in range(2):
        samples = [Sample(name, b"x" * length) for name in names]
        path = tmp_path / f"{index}.parquet"
        embedded_files.write_hugging_face(path, samples, compression="none", use_dictionary=False)
    reader = build_reader({"name": "table", "dir": str(tmp_path), "captions": "*.parquet"})
    assert 2 * text <= reader.size() <= 4 * text


def test_files_are_asked_for_their_size_once(tmp_path, monkeypatch):
    (tmp_path / "t.csv").write_text("image,caption\n")
    reader = build_reader({"name": "table", "dir": str(tmp_path)})
    assert reader.size() == len("image,caption\n")
    monkeypatch.setattr(filesystem, "size", None)
    assert reader.size() == len("image,caption\n")


@pytest.mark.parametrize("size", [1, 7, 64, 10_000])
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
def test_parts_of_any_size_give_each_row_once(tmp_path, monkeypatch, suffix, size):
    monkeypatch.setattr(table_files, "PART_BYTES", size)
    rows = [{"image": f"{number}.jpg", "caption": f"“said” {number}"} for number in range(70)]
    if suffix == ".jsonl":
        lines = [json.dumps(row) for row in rows]
    else:
        sign = "," if suffix == ".csv" else "\t"
        lines = [sign.join(row) for row in (rows[0], *(row.values() for row in rows))]
    (tmp_path / f"t{suffix}").write_text("\n".join(lines) + "\n")
    columns = table_rows.Columns.from_mapping({})
    path, problems = str(tmp_path / f"t{suffix}"), datasets.Problems()
    whole = [row for _, row in table_rows.read(parted.Part(path), columns, problems)]
    parts = [
        row
        for part in table_files.parts(path)
        for _, row in table_rows.read(part, columns, problems)
    ]
    assert parts == whole
    assert len(whole) == 70
