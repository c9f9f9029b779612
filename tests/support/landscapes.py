"""Images of a sky over a ground with captions: a captioner learns in seconds to tell them apart."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from ml_collections import ConfigDict
from PIL import Image
from tiny_runs import tiny_config

from imcap import config as config_lib
from imcap import hashing, records
from imcap.decoders.base import Decoder
from imcap.text import Tokenizer
from imcap.training import checkpoints

SKIES = {"blue": (70, 130, 250), "grey": (150, 150, 150), "red": (230, 70, 60)}
GROUNDS = {"grass": (40, 160, 50), "sand": (230, 200, 120), "snow": (250, 250, 250)}
SPLITS = {"train": 16, "dev": 4, "test": 4}  # Images of `write_images`.
IMAGE_SIZE = 32  # Width and height of the encoder's input.
# What makes records of training images hold every kind of view: changes for `make_records_config`.
VIEWS = {"records__flip": True, "records__crops": 2}
VIEW_KEYS = ["features", "features_flip", "features_crop1", "features_crop2"]
_TRAINING_SPLITS = {"train": 45, "dev": 9}
_CAPTIONS = (
    "A {sky} sky over the {ground}.",
    "The {ground} lies under a wide {sky} sky!",
    "{ground} below and {sky} above",
)
# The image's number is a word that occurs in no other image.
_NUMBERED_CAPTIONS = ("A {sky} sky.", "Image no. {number}: the {ground}, and the sky is {sky}!")


def draw(seed: int, size: tuple[int, int] = (40, 30)) -> Image.Image:
    """Returns an RGB image of `size` (width, height); nine seeds in a row show all combinations."""
    sky, ground = _scene(seed)
    bands = np.repeat([SKIES[sky], GROUNDS[ground]], [size[1] // 2, size[1] - size[1] // 2], axis=0)
    noise = np.random.default_rng(seed).normal(0, 12, (size[1], size[0], 3))
    return Image.fromarray((bands[:, np.newaxis] + noise).clip(0, 255).astype(np.uint8))


def _scene(number: int) -> tuple[str, str]:
    scenes = list(itertools.product(SKIES, GROUNDS))
    return scenes[number % len(scenes)]


def write_images(folder: Path) -> Path:
    """Writes 24 JPEGs, `00.jpg` and on, in SPLITS with two captions each; returns `folder`."""
    return _write(folder, SPLITS, _NUMBERED_CAPTIONS)


def write_training_images(folder: Path) -> Path:
    """Writes 45 JPEGs of train and 9 of dev with two or three captions each; returns `folder`."""
    return _write(folder, _TRAINING_SPLITS, _CAPTIONS)


def _write(folder: Path, splits: Mapping[str, int], captions: Sequence[str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, split in enumerate(split for split, n in splits.items() for _ in range(n)):
        name, (sky, ground) = f"{number:02d}.jpg", _scene(number)
        draw(number).save(folder / name, quality=90)
        for caption in captions[: 2 + number // 9 % 2]:
            rows.append((name, split, caption.format(sky=sky, ground=ground, number=number)))
    write_table(folder, rows)
    return folder


def write_table(folder: Path, rows: Iterable[tuple[str, str, str]]) -> None:
    """Writes captions.csv from rows of image, split and caption."""
    with open(folder / "captions.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerows([("image", "split", "caption"), *rows])


def write_encoder(path: Path, seed: int = 0) -> None:
    """Saves a network that returns the mean colours of an image's quarters, mixed at random."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((IMAGE_SIZE, IMAGE_SIZE, 3))
    x = keras.layers.Rescaling(1 / 64, offset=-2.0)(inputs)
    x = keras.layers.AveragePooling2D(IMAGE_SIZE // 2)(x)
    keras.Model(inputs, keras.layers.Conv2D(8, 1, activation="relu")(x)).save(path)


def make_records_config(workdir: Path, data: Path, **changes: object) -> ConfigDict:
    """Returns the resolved config of a records job in `workdir` on the images in `data`, with an
    encoder that is not trained; `changes` by dotted key with `__`."""
    values = {
        "dataset__name": "table",
        "dataset__dir": str(data),
        "dataset__columns__split": "split",
        "encoder__image_size": IMAGE_SIZE,
        "encoder__batch_size": 5,
    }
    return tiny_config(workdir, **(values | changes))


def make_config(workdir: Path, data: Path, **changes: object) -> ConfigDict:
    """Returns the resolved config of a run in `workdir` on the images, encoder and records in
    `data`; `changes` by dotted key with `__`."""
    config = config_lib.default()
    values = {
        "dataset.name": "table",
        "dataset.dir": str(data),
        "dataset.columns.split": "split",
        "encoder.name": str(data / "encoder.keras"),
        "encoder.weights": "",
        "encoder.image_size": IMAGE_SIZE,
        "records.dir": str(data / "records"),
        "records.num_shards": 2,
        "text.min_count": 1,
        "model.units": 16,
        "model.embedding_size": 16,
        "model.dropout": 0.0,
        "model.embedding_dropout": 0.0,
        "model.feature_dropout": 0.0,
        "train.batch_size": 9,
        "train.epochs": 12,
        "train.learning_rate": 3e-2,
        "train.label_smoothing": 0.0,
    }
    config.update_from_flattened_dict(values)
    config.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
    return config_lib.resolve(config, str(workdir))


class Trained(NamedTuple):
    """A trained captioner with what it was made from."""

    config: ConfigDict
    info: records.Info
    tokenizer: Tokenizer
    decoder: Decoder


def load_trained(workdir: Path, data: Path) -> Trained:
    """Returns the best decoder of a run on the images in `data`."""
    config = make_config(workdir, data)
    info = records.read_info(config.records.dir)
    tokenizer = records.read_tokenizer(config.records.dir, info)
    return Trained(
        config, info, tokenizer, checkpoints.load_decoder(config.model, str(workdir), info)
    )


def reverse_vocabulary(folder: Path, *, update_info: bool) -> Path:
    """Puts the words of a records folder's vocabulary in reverse order; returns vocab.txt's path.

    `update_info`: whether info.json gets the digest of the new order.
    """
    path, info = folder / records.VOCABULARY, folder / records.INFO
    lines = records.read_vocabulary(str(folder))
    lines = [*lines[:2], *reversed(lines[2:])]
    path.write_text("".join(f"{line}\n" for line in lines))
    if update_info:
        values = json.loads(info.read_text()) | {"vocabulary_digest": hashing.digest_of(lines)}
        info.write_text(json.dumps(values))
    return path
