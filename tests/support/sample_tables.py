"""One table in every format that the table reader knows."""

from __future__ import annotations

import gzip
import io
import json

import pyarrow as pa
from pyarrow import parquet

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


def delimited(mark: str) -> bytes:
    """Returns the rows as a table whose fields are quoted as RFC 4180 has it."""
    lines = [mark.join(ROWS[0])]
    for row in ROWS:
        lines.append(mark.join('"' + value.replace('"', '""') + '"' for value in row.values()))
    return "\r\n".join(lines).encode()


def parquet_bytes(rows: list[dict]) -> bytes:
    """Returns rows as a Parquet file."""
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
