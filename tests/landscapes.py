"""Photos of a sky over a ground: a captioner learns within seconds to tell them apart."""

from __future__ import annotations

import csv
import itertools
import json
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict
from PIL import Image

from imcap import config as config_lib
from imcap.training import checkpoints

SKIES = {"blue": (70, 130, 250), "grey": (150, 150, 150), "red": (230, 70, 60)}
GROUNDS = {"grass": (40, 160, 50), "sand": (230, 200, 120), "snow": (250, 250, 250)}
CAPTIONS = (
    "A {sky} sky over the {ground}.",
    "The {ground} lies under a wide {sky} sky!",
    "{ground} below and {sky} above",
)
SIZE = 24  # Of a photo's side, in pixels.
IMAGE_SIZE = 32  # What the encoder takes.


def write_photos(folder: Path) -> None:
    """Writes 45 training and 9 dev photos, each with two or three captions, and their table."""
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = []
    for sky, ground, index in itertools.product(SKIES, GROUNDS, range(6)):
        name = f"{sky}-{ground}-{index}.jpg"
        _draw(rng, sky, ground).save(folder / "images" / name)
        row = {"image": name, "split": "train" if index else "dev"}
        captions = [caption.format(sky=sky, ground=ground) for caption in CAPTIONS]
        rows += [row | {"caption": caption} for caption in captions[: 3 - index % 2]]
    (folder / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def _draw(rng: np.random.Generator, sky: str, ground: str) -> Image.Image:
    bands = np.repeat([SKIES[sky], GROUNDS[ground]], SIZE // 2, axis=0)
    pixels = bands[:, np.newaxis] + rng.normal(0, 12, (SIZE, SIZE, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def write_encoder(path: Path, seed: int = 0) -> None:
    """Saves a network that sees the mean colours of a photo's quarters, mixed at random."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((IMAGE_SIZE, IMAGE_SIZE, 3))
    x = keras.layers.Rescaling(1 / 64, offset=-2.0)(inputs)
    x = keras.layers.AveragePooling2D(IMAGE_SIZE // 2)(x)
    keras.Model(inputs, keras.layers.Conv2D(8, 1, activation="relu")(x)).save(path)


def make_config(workdir: Path, data: Path, **changes: object) -> ConfigDict:
    """The resolved config of a run in `workdir` on the photos, encoder and records in `data`;
    `changes` by dotted key with `__`."""
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


def history(workdir: Path) -> list[dict[str, str]]:
    """The rows of a run's history.csv."""
    with open(workdir / "history.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def step(workdir: Path, name: str = "last") -> int:
    """The step of a run's newest checkpoint called `name`, 0 where there is none."""
    path = tf.train.latest_checkpoint(str(workdir / checkpoints.FOLDER / name))
    return int(path.rsplit("-", 1)[1]) if path else 0
