"""TFRecord files of `tf.train.Example`s, each with an image's bytes and its captions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from imcap import filesystem
from imcap.datasets import table_rows
from imcap.datasets.base import Problems
from imcap.datasets.embedded.reader import EmbeddedReader
from imcap.datasets.parted import Entry, Part
from imcap.errors import UserError, one_line

_BEFORE, _AFTER = 12, 4  # Bytes of length and checksums around a record.


class TFRecords(EmbeddedReader):
    """Reads TFRecord files that are not compressed.

    `columns` are the features' names: `image` of the encoded image, `caption` of one or several
    captions, optional `id` and `split`. Without `id` the image id is the file's name below `dir`
    with the record's number.

    Problems: records that are no Example, missing images and captions, and files that end too
    early or have a wrong checksum; what is before that is used.
    """

    kind = "TFRecord file"
    patterns = ("*.tfrec*",)

    def entries(self, part: Part, problems: Problems) -> Iterator[tuple[str, Entry]]:
        """Yields the records of a file in their order."""
        folder_path = filesystem.relative_to(part.path, self.folder)
        for number, (offset, record) in enumerate(_records(part.path, problems), start=1):
            where = f"{part.path}, record {number}"
            row = _features(record, where, problems)
            if number == 1 and row is not None:
                table_rows.require(part.path, self.columns, sorted(row))
            if row is None:
                continue
            address = _address(part.path, offset, record, row.get(self.columns.image))
            row = {key: _text(values) for key, values in row.items() if key != self.columns.image}
            name = f"{folder_path}/{number}"
            yield from self.entry(where, part.path, address, name, row, problems)


def _records(path: str, problems: Problems) -> Iterator[tuple[int, bytes]]:
    """Yields where each record begins, and the record."""
    import tensorflow as tf

    offset = 0
    with filesystem.local_copy(path) as local:
        try:
            for record in tf.data.TFRecordDataset([local]).as_numpy_iterator():
                yield offset + _BEFORE, record
                offset += _BEFORE + len(record) + _AFTER
        except tf.errors.OpError as error:
            if not offset:
                raise UserError(
                    f"{path}: not a TFRecord file that can be read ({one_line(error)}); a "
                    "compressed one has to be unpacked first"
                ) from error
            problems.add("TFRecord files that end too early", f"{path}, byte {offset}")


def _features(record: bytes, where: str, problems: Problems) -> dict[str, list[Any]] | None:
    """Returns an Example's values by feature; None for another message, which is counted."""
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    try:
        found = tf.train.Example.FromString(record).features.feature
    except DecodeError:
        found = {}
    if not found:
        problems.add("records that are no tf.train.Example", where)
        return None
    kinds = {name: feature.WhichOneof("kind") for name, feature in found.items()}
    return {n: list(getattr(found[n], kind).value) if kind else [] for n, kind in kinds.items()}


def _address(path: str, offset: int, record: bytes, values: list[Any] | None) -> str:
    """Returns where the image's bytes are in the file; empty where there are none."""
    image = values[0] if values else b""
    if not isinstance(image, bytes) or not image:
        return ""
    return filesystem.address(path, offset + record.find(image), len(image))


def _text(values: list[Any]) -> Any:
    """Returns one value as it is, several as a list; bytes as text, where they are UTF-8."""
    texts = [
        value.decode("utf-8", "replace") if isinstance(value, bytes) else value for value in values
    ]
    return texts[0] if len(texts) == 1 else texts
