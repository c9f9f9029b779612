"""Flickr8k (Hodosh, Young and Hockenmaier, 2013), as published and as repacked on Kaggle.

Official: `Flickr8k.token.txt`, `Flickr_8k.{trainImages,devImages,testImages}.txt`, and the photos
in `Images/` or, as in the published archive, `Flicker8k_Dataset/`.
Kaggle: `captions.txt` (CSV with the header `image,caption`) and `Images/`.

The official captions win where both lie in the folder. Split lists are used wherever they exist;
without them a seeded ratio splits the photos.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from imcap.datasets import caption_files
from imcap.datasets.base import CaptionedImage, Problems

LAYOUT = caption_files.Layout(
    captions=("Flickr8k.token.txt", "Flickr8k_text/Flickr8k.token.txt", "captions.txt"),
    images=(
        "Images",
        "Flicker8k_Dataset",
        "Flickr8k_Dataset",
        "Flickr8k_Dataset/Flicker8k_Dataset",
    ),
    lists={
        split: (f"Flickr_8k.{split}Images.txt", f"Flickr8k_text/Flickr_8k.{split}Images.txt")
        for split in ("train", "dev", "test")
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
