"""What tests read of the folders that a records job or a training run writes."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import tensorflow as tf

from imcap.training import checkpoints


def contents(folder: str | Path) -> dict[str, bytes]:
    """Returns the bytes of every file of a records folder by relative path, but `progress/`."""
    paths = [path for path in Path(folder).rglob("*") if path.is_file()]
    files = {str(path.relative_to(folder)): path.read_bytes() for path in sorted(paths)}
    return {name: files[name] for name in files if not name.startswith("progress/")}


def identities(folder: str | Path) -> dict[str, tuple[int, int]]:
    """Returns inode and mtime of each shard: they change when a shard is written again."""
    stats = {path.name: path.stat() for path in Path(folder).glob("*.tfrecord")}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in stats.items()}


def examples(folder: str | Path, split: str) -> list[tf.train.Example]:
    """Returns a split's examples, shard by shard."""
    paths = sorted(map(str, Path(folder).glob(f"{split}-*.tfrecord")))
    serialized = tf.data.TFRecordDataset(paths)
    return [tf.train.Example.FromString(record) for record in serialized.as_numpy_iterator()]


def values(example: tf.train.Example, key: str) -> list:
    """Returns an example's values of one feature."""
    feature = example.features.feature[key]
    return list(getattr(feature, feature.WhichOneof("kind")).value)


def history(workdir: Path) -> list[dict[str, str]]:
    """Returns the rows of a run's history.csv."""
    with open(workdir / "history.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def step(workdir: Path, name: str = "last") -> int:
    """Returns the step of a run's newest checkpoint called `name`, 0 where there is none."""
    path = tf.train.latest_checkpoint(str(workdir / checkpoints.FOLDER / name))
    return int(path.rsplit("-", 1)[1]) if path else 0


def saved_state(workdir: Path, name: str) -> dict[str, np.ndarray]:
    """Returns all values in a run's checkpoint called `name`, by their names there."""
    folder = workdir / checkpoints.FOLDER / name
    path = tf.train.latest_checkpoint(str(folder)) or str(folder / "weights")
    reader = tf.train.load_checkpoint(path)
    # The number of saves depends on the clock.
    skipped = ("_CHECKPOINTABLE_OBJECT_GRAPH", "save_counter/.ATTRIBUTES/VARIABLE_VALUE")
    names = set(reader.get_variable_to_shape_map()) - set(skipped)
    return {name: reader.get_tensor(name) for name in names}
