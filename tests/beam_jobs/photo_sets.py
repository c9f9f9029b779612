"""Small data sets for the records job, and a look into the folders that it makes."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict
from PIL import Image

from configs import shapes
from imcap import config as config_lib

SPLITS = {"train": 16, "dev": 4, "test": 4}
_COLOURS = ("red", "green", "blue", "grey")
_THINGS = ("dog", "boat", "kite")


def draw(seed: int, size: tuple[int, int] = (40, 30)) -> Image.Image:
    """Returns an RGB photo of smooth noise."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def write_photos(folder: Path) -> Path:
    """Writes a data set of 24 JPEGs with two captions each; returns its folder."""
    folder.mkdir(parents=True)
    rows = []
    for number, split in enumerate(split for split, n in SPLITS.items() for _ in range(n)):
        name = f"{number:02d}.jpg"
        draw(number).save(folder / name, quality=90)
        colour, thing = _COLOURS[number % 4], _THINGS[number % 3]
        rows.append((name, split, f"A {colour} {thing}."))
        rows.append((name, split, f"Photo no. {number}: the {thing}, which is {colour}!"))
    write_table(folder, rows)
    return folder


def write_table(folder: Path, rows: Iterable[tuple[str, str, str]]) -> None:
    """Writes captions.csv from rows of image, split and caption."""
    with open(folder / "captions.csv", "w", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerows([("image", "split", "caption"), *rows])


def make_config(workdir: Path, data: Path, **changes: object) -> ConfigDict:
    """The resolved config of a job on such a data set; `changes` by dotted key with `__`."""
    config = shapes.get_config("tiny")
    config.dataset.name = "table"
    config.dataset.dir = str(data)
    config.dataset.columns.split = "split"
    config.encoder.weights = ""
    config.encoder.image_size = 32
    config.encoder.batch_size = 5
    for key, value in changes.items():
        config.update_from_flattened_dict({key.replace("__", "."): value})
    return config_lib.resolve(config, str(workdir))


def contents(folder: str | Path) -> dict[str, bytes]:
    """Returns every file of a records folder by its name below it, but for `progress/`."""
    paths = [path for path in Path(folder).rglob("*") if path.is_file()]
    files = {str(path.relative_to(folder)): path.read_bytes() for path in sorted(paths)}
    return {name: files[name] for name in files if not name.startswith("progress/")}


def identities(folder: str | Path) -> dict[str, tuple[int, int]]:
    """Returns what changes when a shard is written again, even with the same bytes."""
    stats = {path.name: path.stat() for path in Path(folder).glob("*.tfrecord")}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in stats.items()}


def examples(folder: str | Path, split: str) -> list[tf.train.Example]:
    """Returns a split's records, shard by shard."""
    paths = sorted(map(str, Path(folder).glob(f"{split}-*.tfrecord")))
    serialized = tf.data.TFRecordDataset(paths)
    return [tf.train.Example.FromString(record) for record in serialized.as_numpy_iterator()]


def values(example: tf.train.Example, key: str) -> list:
    """Returns a record's values of one feature."""
    feature = example.features.feature[key]
    return list(getattr(feature, feature.WhichOneof("kind")).value)
