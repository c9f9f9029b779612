"""Flickr30k (Young, Lai, Hodosh and Hockenmaier, 2014), as published and as repacked on Kaggle.

Kaggle: `results.csv` with the header `image_name| comment_number| comment` (one of its rows lost a
delimiter and is repaired), images in `flickr30k_images/`.
Authors': `results_20130124.token`, images in `flickr30k-images/`.

Split lists named as by Flickr30k Entities (`train.txt`, `val.txt`, `test.txt`: ids without `.jpg`)
are used where they exist; without them a seeded ratio splits the images.
"""

from __future__ import annotations

from imcap.datasets import flickr_captions

LAYOUT = flickr_captions.Layout(
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


class Flickr30k(flickr_captions.CaptionFileReader):
    """Reads Flickr30k; settings and problems as in `CaptionFileReader`."""

    layout = LAYOUT
