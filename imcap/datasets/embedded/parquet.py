"""Images in a column of a Parquet file: binaries, or Hugging Face's structs of bytes and path."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from imcap import filesystem

_LENGTH_BYTES = 4  # Before each image that is stored as it is.
_MAX_STORED = 1 << 30  # Bytes of a row group that are in memory to find its images in them.
_BATCH = 64  # Rows of images in memory at a time.
_ROWS = 4096  # Rows without images in memory at a time.


class EmbeddedImage(NamedTuple):
    """What a row holds in place of a path.

    Attributes:
      address: of the image's bytes; empty where the row has none.
      name: the file's name that the row gives; empty where it gives none.
    """

    address: str
    name: str


def holds_images(schema: Any, column: str) -> bool:
    """Tells whether a column of an Arrow schema holds images rather than paths."""
    from pyarrow import types

    kind = schema.field(column).type
    if types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and _is_binary(kind.field(index).type)
    return _is_binary(kind)


def text_bytes(metadata: Any, column: str) -> int:
    """Returns how many bytes a file's columns have that are not of images, not compressed.

    Args:
      metadata: a `pyarrow.parquet.FileMetaData`.
      column: of the images.
    """
    groups = (metadata.row_group(index) for index in range(metadata.num_row_groups))
    leaves = (group.column(index) for group in groups for index in range(group.num_columns))
    return sum(
        leaf.total_uncompressed_size
        for leaf in leaves
        if leaf.path_in_schema not in (column, f"{column}.bytes")
    )


def _is_binary(kind: Any) -> bool:
    from pyarrow import types

    return types.is_binary(kind) or types.is_large_binary(kind)


def rows(
    file: Any, path: str, group: int, columns: list[str], image: str
) -> Iterator[dict[str, Any]]:
    """Yields the rows of a row group; `image` has `EmbeddedImage`s where it holds images.

    Args:
      file: a `pyarrow.parquet.ParquetFile`.
      path: of the file.
      group: the number of the row group.
      columns: to read.
      image: one of them.
    """
    embeds = holds_images(file.schema_arrow, image)
    batches = file.iter_batches(_BATCH if embeds else _ROWS, row_groups=[group], columns=columns)
    if not embeds:
        for batch in batches:
            yield from batch.to_pylist()
        return
    addresses = _Addresses(file, path, group, image)
    for batch in batches:
        images = map(EmbeddedImage, addresses.of(batch[image]), _names(batch[image]))
        for row, found in zip(batch.drop_columns(image).to_pylist(), images, strict=True):
            yield {**row, image: found}


class _Addresses:
    """Says where the images of a row group are, batch by batch.

    Images that are stored as they are, as `datasets` does, are ranges of the file. Others are
    ranges of the row group's images (`filesystem.read_image`).
    """

    def __init__(self, file: Any, path: str, group: int, column: str) -> None:
        self._path, self._group, self._column = path, group, column
        self._begin, self._stored = _stored_bytes(file, path, group, column)
        self._at = self._start = 0  # In the stored bytes; in the row group's images.

    def of(self, column: Any) -> Iterator[str]:
        """Yields an address for each row, empty for a row without an image."""
        for value in filesystem.binaries(column):
            image = value.as_buffer() if value.is_valid else b""
            yield self._of(image, len(image)) if len(image) else ""

    def _of(self, image: Any, length: int) -> str:
        found = self._at + _LENGTH_BYTES
        if self._stored and not self._stored.startswith(image, found):
            found = self._stored.find(image)
        self._start += length
        if not self._stored or found < 0:
            start = self._start - length
            return filesystem.address(
                self._path, start, length, group=self._group, column=self._column
            )
        self._at = found + length
        return filesystem.address(self._path, self._begin + found, length)


def _stored_bytes(file: Any, path: str, group: int, column: str) -> tuple[int, bytes]:
    """Returns where a column begins in a file and its bytes there; no bytes if compressed."""
    metadata = file.metadata.row_group(group)
    leaves = (metadata.column(index) for index in range(metadata.num_columns))
    for leaf in leaves:
        if leaf.path_in_schema in (column, f"{column}.bytes"):
            size = leaf.total_compressed_size
            if leaf.compression == "UNCOMPRESSED" and size <= _MAX_STORED:
                begin = leaf.dictionary_page_offset or leaf.data_page_offset
                return begin, filesystem.read_image(filesystem.address(path, begin, size))
    return 0, b""


def _names(column: Any) -> list[str]:
    from pyarrow import types

    index = column.type.get_field_index("path") if types.is_struct(column.type) else -1
    names = column.flatten()[index].to_pylist() if index >= 0 else [None] * len(column)
    return [name if isinstance(name, str) else "" for name in names]
