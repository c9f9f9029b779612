"""Flickr30k (Young, Lai, Hodosh and Hockenmaier, 2014), as published and as repacked on Kaggle.

Kaggle: `results.csv` with the header `image_name| comment_number| comment` (one of its rows lost a
delimiter and is mended), photos in `flickr30k_images/`.
Authors': `results_20130124.token`, photos in `flickr30k-images/`.

Split lists named as by Flickr30k Entities (`train.txt`, `val.txt`, `test.txt`: ids without `.jpg`)
are used where they exist; without them a seeded ratio splits the photos.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from imcap.datasets import caption_files
from imcap.datasets.base import CaptionedImage, Problems

LAYOUT = caption_files.Layout(
    captions=(
        "results_20130124.token",
        "results.csv",
        "flickr30k_images/results.csv",
        "captions.txt",
    ),
    images=(
        "flickr30k_images/flickr30k_images",
        "flickr30k_images",
        "flickr30k-images",
        "Images",
    ),
    lists={
        split: (f"{name}.txt", f"flickr30k_{name}.txt")
        for split, name in (("train", "train"), ("dev", "val"), ("test", "test"))
    },
)


def read(config: Any, problems: Problems) -> Iterator[CaptionedImage]:
    """Yields the photos sorted by image id, which is the file name.

    Args:
      config: `dir`; optional `captions` and `images` (relative to `dir`), `ratios` and `seed` (used
        without split lists), `holdout` (photos moved from `train` to the split `look`).
      problems: counts photos in no split list, missing photos, malformed rows and the like.

    Raises:
      UserError: for a folder without captions or photos, naming what was looked for.
    """
    return caption_files.read(config, LAYOUT, problems)
