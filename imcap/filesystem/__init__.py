"""Files, local or remote (gs://, s3://, hdfs:// through Beam): paths, listing, reading, writing.

Use everything from here: `filesystem.replacing(path)`.
"""

from imcap.filesystem.image_bytes import (
    UNPACKED,
    InSequence,
    address,
    binaries,
    column_values,
    embedded_length,
    read_image,
)
from imcap.filesystem.paths import (
    IMAGE_EXTENSIONS,
    cache_folder,
    is_image,
    is_remote,
    join,
    normalize,
    relative_to,
)
from imcap.filesystem.reading import (
    download,
    file_names,
    folders,
    is_file,
    is_folder,
    local_copy,
    match,
    open_bytes,
    read_arrays,
    read_bytes,
    read_json,
    set_remote_options,
    size,
    walk,
)
from imcap.filesystem.writing import (
    TEMPORARY,
    replacing,
    write_arrays,
    write_json,
    write_text,
    writing_to,
)

__all__ = [
    "IMAGE_EXTENSIONS",
    "TEMPORARY",
    "UNPACKED",
    "InSequence",
    "address",
    "binaries",
    "cache_folder",
    "column_values",
    "download",
    "embedded_length",
    "file_names",
    "folders",
    "is_file",
    "is_folder",
    "is_image",
    "is_remote",
    "join",
    "local_copy",
    "match",
    "normalize",
    "open_bytes",
    "read_arrays",
    "read_bytes",
    "read_image",
    "read_json",
    "relative_to",
    "replacing",
    "set_remote_options",
    "size",
    "walk",
    "write_arrays",
    "write_json",
    "write_text",
    "writing_to",
]
