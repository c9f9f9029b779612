"""Data sets of any size for benchmarks: links to a folder's images, or small drawn images."""

from __future__ import annotations

import csv
import os

import numpy as np
from PIL import Image

from imcap.serving.caption_files import find_images

DRAWN_SIZE = 32  # Pixels per side of a drawn image.
_IMAGES_PER_FOLDER = 10_000
_ROWS_PER_GROUP = 50_000


def link_images(image_dir: str, count: int, folder: str) -> None:
    """Makes a data set in `folder` of `count` links to the images in `image_dir`, in turn.

    Raises:
      UserError: `image_dir` holds no image.
    """
    sources = [os.path.abspath(path) for path in find_images([image_dir])]
    os.makedirs(os.path.join(folder, "Images"))
    lines = ["image,caption"]
    for index in range(count):
        source = sources[index % len(sources)]
        name = f"{index:07d}{os.path.splitext(source)[1]}"
        os.symlink(source, os.path.join(folder, "Images", name))
        lines += [f"{name},image number {index} described by person {k}" for k in range(5)]
    with open(os.path.join(folder, "captions.txt"), "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


def draw_images(folder: str, count: int) -> None:
    """Writes `count` different PNG files below `FOLDER/images`.

    Each has two colours on either side of a line, and its number as the colour of a corner.
    """
    rng = np.random.default_rng(0)
    ramp = np.add.outer(np.arange(DRAWN_SIZE), np.arange(DRAWN_SIZE))[..., None]
    for number in range(count):
        path = os.path.join(folder, "images", _drawn_name(number))
        if number % _IMAGES_PER_FOLDER == 0:
            os.makedirs(os.path.dirname(path))
        first, second = rng.integers(0, 256, (2, 3))
        is_second = ramp > rng.random() * (2 * DRAWN_SIZE - 2)
        pixels = (first + (second - first) * is_second).astype(np.uint8)
        pixels[0, 0] = [number >> 16 & 255, number >> 8 & 255, number & 255]
        Image.fromarray(pixels).save(path)


def write_drawn_table(folder: str, count: int) -> None:
    """Makes the data set of the first `count` images that `draw_images` wrote to `folder`."""
    with open(drawn_table(folder), "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "caption"])
        for number in range(count):
            caption = f"two colours along a line, the {number % 1000} of {number % 997}"
            writer.writerow([_drawn_name(number), caption])


def write_embedded_table(folder: str, count: int) -> None:
    """Writes a Parquet table of `count` rows with a caption and an image of a few bytes each.

    The images are no images that could be decoded. One of a hundred is equal to the one before.
    """
    import pyarrow
    from pyarrow import parquet

    schema = pyarrow.schema([("key", "string"), ("image", "binary"), ("caption", "string")])
    path = os.path.join(folder, "table.parquet")
    # Images that are stored as they are can be read alone.
    stored = {"compression": {"key": "snappy", "caption": "snappy", "image": "none"}}
    with parquet.ParquetWriter(path, schema, use_dictionary=False, **stored) as writer:
        for start in range(0, count, _ROWS_PER_GROUP):
            numbers = range(start, min(start + _ROWS_PER_GROUP, count))
            columns = (
                [f"{number:09d}.jpg" for number in numbers],
                [b"image %d" % (number - (number % 100 == 99)) for number in numbers],
                [_described(number) for number in numbers],
            )
            writer.write_table(pyarrow.table(dict(zip(schema.names, columns, strict=True)), schema))


def _described(number: int) -> str:
    """Returns a caption of ten words; the words of all captions are a few thousand."""
    return f"a word{number % 4999} and a word{number * 7 % 997} on the word{number % 101} by w"


def drawn_table(folder: str) -> str:
    """Returns the path of the table that `write_drawn_table` writes."""
    return os.path.join(folder, "captions.csv")


def _drawn_name(number: int) -> str:
    return f"{number // _IMAGES_PER_FOLDER}/{number}.png"
