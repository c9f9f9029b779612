"""Files that hold images and captions, written as `datasets`, `webdataset` and `img2dataset` do.

These libraries are no requirement of the tests: the files are written with what they write with,
under the names that they give to columns, members and features.
"""

from __future__ import annotations

import csv
import io
import json
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow
import tensorflow as tf
from pyarrow import parquet


class Sample(NamedTuple):
    """An image with its captions."""

    name: str
    content: bytes | None
    captions: Sequence[str] = ("A sky.",)
    split: str = "train"


def samples_of(folder: Path) -> list[Sample]:
    """Returns the samples of a folder with captions.csv, in its order."""
    captions: dict[tuple[str, str], list[str]] = {}
    with open(folder / "captions.csv", newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            captions.setdefault((row["image"], row["split"]), []).append(row["caption"])
    return [
        Sample(name, (folder / name).read_bytes(), texts, split)
        for (name, split), texts in captions.items()
    ]


def write_hugging_face(path: Path, samples: Iterable[Sample], **options: Any) -> None:
    """Writes what `Dataset.push_to_hub` writes; `options` as of `pyarrow.parquet.write_table`."""
    image = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    schema = pyarrow.schema(
        [("image", image), ("caption", pyarrow.list_(pyarrow.string())), ("split", "string")]
    )
    rows = [
        {"image": {"bytes": s.content, "path": s.name}, "caption": s.captions, "split": s.split}
        for s in samples
    ]
    _write_parquet(path, pyarrow.Table.from_pylist(rows, schema), options)


def write_img2dataset(path: Path, samples: Iterable[Sample], **options: Any) -> None:
    """Writes what img2dataset writes with `output_format=parquet`: an image that could not be
    downloaded is null."""
    rows = [
        {"part": s.split, "caption": s.captions[0], "key": s.name, "jpg": s.content}
        for s in samples
    ]
    _write_parquet(path, pyarrow.Table.from_pylist(rows), {"row_group_size": 100, **options})


def _write_parquet(path: Path, table: pyarrow.Table, options: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path, **options)


def write_webdataset(path: Path, samples: Iterable[Sample]) -> None:
    """Writes what `webdataset.TarWriter` writes: image, JSON and text of a key in a row."""
    members = []
    for sample in samples:
        key = Path(sample.name).stem
        described = {"caption": list(sample.captions), "split": sample.split}
        members += [
            (sample.name, sample.content or b""),
            (f"{key}.json", json.dumps(described).encode()),
            (f"{key}.txt", "\n".join(sample.captions).encode()),
        ]
    write_tar(path, members)


def write_tar(path: Path, members: Iterable[tuple[str, bytes]]) -> None:
    """Writes a tar file of names and contents."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def write_tfrecords(path: Path, samples: Iterable[Sample]) -> None:
    """Writes Examples with the names of img2dataset's features; captions are a list."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for sample in samples:
            values = {
                "jpg": [] if sample.content is None else [sample.content],
                "key": [sample.name.encode()],
                "caption": [caption.encode() for caption in sample.captions],
                "part": [sample.split.encode()],
            }
            writer.write(example(values))


def example(values: Mapping[str, Sequence[bytes]]) -> bytes:
    """Returns a serialized tf.train.Example."""
    features = {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=value))
        for name, value in values.items()
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
