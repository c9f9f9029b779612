"""Flickr8k (Hodosh, Young and Hockenmaier, 2013), as published and as repacked on Kaggle.

Official: `Flickr8k.token.txt`, `Flickr_8k.{trainImages,devImages,testImages}.txt`, and the images
in `Images/` or, as in the published archive, `Flicker8k_Dataset/`.
Kaggle: `captions.txt` (CSV with the header `image,caption`) and `Images/`.

The official captions win where both lie in the folder. Split lists are used wherever they exist;
without them a seeded ratio splits the images.
"""

from __future__ import annotations

from imcap.datasets import flickr_captions

LAYOUT = flickr_captions.Layout(
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


class Flickr8k(flickr_captions.CaptionFileReader):
    """Reads Flickr8k; settings and problems as in `CaptionFileReader`."""

    layout = LAYOUT
