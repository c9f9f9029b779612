"""The data sets: one reader per published layout, each yields `CaptionedImage`.

A new reader is a module with a `Reader` class and a line in READERS (or `READERS.register`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imcap.datasets.base import CaptionedImage, Problems, Reader, Settings
from imcap.registry import Registry

__all__ = ["READERS", "CaptionedImage", "Problems", "Reader", "Settings", "build_reader"]

READERS = Registry(
    "config.dataset.name",
    {
        "coco": "imcap.datasets.coco:Coco",
        "flickr30k": "imcap.datasets.flickr30k:Flickr30k",
        "flickr8k": "imcap.datasets.flickr8k:Flickr8k",
        "folder": "imcap.datasets.folder:Folder",
        "karpathy": "imcap.datasets.karpathy:Karpathy",
        "shapes": "imcap.datasets.shapes:Shapes",
        "table": "imcap.datasets.table:Table",
        "tfrecord": "imcap.datasets.embedded.tfrecords:TFRecords",
        "webdataset": "imcap.datasets.embedded.webdataset:WebDataset",
    },
)


def build_reader(config: Mapping[str, Any]) -> Reader:
    """Returns the reader of a config's `dataset` part, of the images that `selection` leaves.

    Args:
      config: a mapping or an `ml_collections.ConfigDict`; `name` chooses the reader, the other
        fields are described in `Settings` and in the reader's module.

    Raises:
      UserError: for an unknown name, or a folder or setting that the reader cannot use.
    """
    from imcap.datasets import selection

    reader = READERS.load(str(config.get("name") or ""))
    return selection.apply(reader(Settings.from_config(config)))
