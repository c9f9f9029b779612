"""Files, local or remote (gs://, s3://, hdfs:// through Beam): paths, listing, reading, writing.

A package and not one module, as reading and atomic writing are two jobs. Everything is used from
here: `filesystem.replacing(path)`.
"""

from imcap.filesystem.paths import (
    IMAGE_EXTENSIONS,
    below,
    is_image,
    is_remote,
    join,
    normalize,
)
from imcap.filesystem.reading import (
    download,
    folders,
    is_file,
    is_folder,
    local_copy,
    match,
    names,
    open_bytes,
    read_bytes,
    read_json,
    set_remote_options,
    size,
    walk,
)
from imcap.filesystem.writing import (
    TEMPORARY,
    replacing,
    write_errors,
    write_json,
    write_text,
)

__all__ = [
    "IMAGE_EXTENSIONS",
    "TEMPORARY",
    "below",
    "download",
    "folders",
    "is_file",
    "is_folder",
    "is_image",
    "is_remote",
    "join",
    "local_copy",
    "match",
    "names",
    "normalize",
    "open_bytes",
    "read_bytes",
    "read_json",
    "replacing",
    "set_remote_options",
    "size",
    "walk",
    "write_errors",
    "write_json",
    "write_text",
]
