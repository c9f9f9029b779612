"""info.json, which describes a finished records folder, and the other files beside its shards."""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Any

import tensorflow as tf
from ml_collections import ConfigDict

from imcap import encoders, hashing, text
from imcap.errors import UserError

SCHEMA_VERSION = 1
INFO, VOCABULARY, FAILURES, COMPLETED = "info.json", "vocab.txt", "failures.jsonl", "COMPLETED"


def encoder_settings(encoder: ConfigDict, weights_digest: str) -> dict[str, dict[str, Any]]:
    """Returns what determines the features, as info.json keeps it.

    Args:
      encoder: a config's `encoder` part; a `compute_dtype` of `auto` stands for any.
      weights_digest: of all its weights (`Encoder.digest`).
    """
    return {
        "encoder": {
            "name": encoder.name,
            "layer": encoder.layer,
            "pooling": encoder.pooling,
            "tune_from": encoder.tune_from,
            "compute_dtype": encoder.compute_dtype,
            "weights_digest": weights_digest,
        },
        "preprocessing": {
            "image_size": encoder.image_size,
            "max_pixels": encoder.max_pixels,
        },
    }


def settings_difference(
    before: dict[str, dict[str, Any]], now: dict[str, dict[str, Any]]
) -> tuple[str, str, Any, Any] | None:
    """Returns the first setting of `now` that differs from those that records were made with.

    A network's file may have moved (its weights are compared by their digest), and `auto` accepts
    whatever was chosen.

    Returns:
      (part, key, value in `before`, value in `now`), or None.
    """
    for part, values in now.items():
        for key, value in values.items():
            old = before.get(part, {}).get(key)
            if old != value and not _is_equivalent(key, old, value):
                return part, key, old, value
    return None


def _is_equivalent(key: str, before: Any, value: Any) -> bool:
    if key == "name":
        return encoders.is_file_name(value) and os.path.basename(str(before)) == os.path.basename(
            value
        )
    # Records of earlier versions have no such setting.
    if key in ("crops", "exclude", "flip_eval", "tune_from"):
        return not before and not value
    return key == "compute_dtype" and value == "auto"


@dataclasses.dataclass(frozen=True)
class Info:
    """The content of info.json, which describes a finished records folder.

    Attributes:
      splits: per split `shard_lengths`, `shard_bytes` and `shard_digests`, lists by shard, and
        `views`: the keys of its features (`Views.keys`).
      feature_shape: (positions, channels).
      feature_grid: (rows, columns) of the positions.
      compression: of the shards, empty or GZIP.
      counts: images kept, failed and duplicate, and captions.
      problems: what was left out: by kind its `count` and where the `first` is.
    """

    schema_version: int
    splits: dict[str, dict[str, Any]]
    feature_shape: tuple[int, int]
    feature_grid: tuple[int, int]
    feature_dtype: str
    compression: str
    encoder: dict[str, Any]
    preprocessing: dict[str, Any]
    text: dict[str, Any]
    vocabulary_digest: str
    counts: dict[str, int]
    problems: dict[str, dict[str, Any]]
    versions: dict[str, str]
    dataset: dict[str, Any]

    def require_split(self, split: str) -> None:
        """Raises UserError if there is no such split."""
        if split not in self.splits:
            names = ", ".join(sorted(self.splits))
            raise UserError(f"the records hold no split {split!r}, only {names}")

    def num_images(self, split: str) -> int:
        """Returns how many images a split holds; raises UserError if there is no such split."""
        self.require_split(split)
        return sum(self.splits[split]["shard_lengths"])

    def check_encoder(self, folder: str, encoder: ConfigDict, weights_digest: str = "") -> None:
        """Raises UserError naming the first setting that would give other features.

        Args:
          folder: the records folder, for the message.
          encoder: a config's `encoder` part.
          weights_digest: of the encoder that was built from it; empty: weights are not compared.
        """
        made = {"encoder": self.encoder, "preprocessing": self.preprocessing}
        now = encoder_settings(encoder, weights_digest or self.encoder.get("weights_digest", ""))
        if difference := settings_difference(made, now):
            _, key, before, value = difference
            setting = "weights with digest " if key == "weights_digest" else f"{key}="
            raise UserError(
                f"config.encoder has {setting}{value!r}, but {folder} was encoded with {before!r}: "
                "use the records' own, or build other records with --config.records.dir=DIR"
            )


def read_info(folder: str) -> Info:
    """Reads info.json of a finished folder; raises UserError naming what is wrong with it."""
    if not tf.io.gfile.exists(os.path.join(folder, COMPLETED)):
        raise unfinished(folder)
    path = os.path.join(folder, INFO)
    try:
        content = tf.io.gfile.GFile(path).read()
    except (tf.errors.OpError, UnicodeDecodeError) as error:
        raise _corrupted(path, error) from error
    return parse_info(content, path)


def unfinished(folder: str) -> UserError:
    """Returns the error of a folder without finished records."""
    return UserError(f"{folder} holds no finished records: run `imcap records` (it continues)")


def parse_info(content: str, path: str) -> Info:
    """Returns the Info that info.json holds; raises UserError naming `path`."""
    try:
        values = json.loads(content)
        version = values["schema_version"]
        if version != SCHEMA_VERSION:
            raise UserError(f"{path} has schema {version}; this imcap reads {SCHEMA_VERSION}")
        for key in ("feature_shape", "feature_grid"):
            values[key] = tuple(values[key])
        return Info(**values)
    except UserError:
        raise
    except (ValueError, TypeError, KeyError) as error:
        raise _corrupted(path, error) from error


def format_info(info: Info) -> str:
    """Returns the content of info.json: the inverse of `parse_info`."""
    return json.dumps(dataclasses.asdict(info), indent=2, sort_keys=True) + "\n"


def _corrupted(path: str, error: Exception) -> UserError:
    return UserError(f"{path} is corrupted ({error}); run `imcap records` again")


def read_checked_vocabulary(folder: str, info: Info) -> list[str]:
    """Reads the lines of a folder's vocab.txt; raises UserError if they are not the records'."""
    vocabulary = read_vocabulary(folder)
    if hashing.digest_of(vocabulary) != info.vocabulary_digest:
        path = os.path.join(folder, VOCABULARY)
        raise UserError(
            f"{path} is not the vocabulary that the records' token ids belong to (info.json has "
            f"the digest {info.vocabulary_digest}): run `imcap records` again"
        )
    return vocabulary


def read_tokenizer(folder: str, info: Info, max_length: int = 0) -> text.Tokenizer:
    """Returns the tokenizer of a folder's vocabulary; see `read_checked_vocabulary`.

    `max_length`: words kept of a caption; 0: as many as the records keep.
    """
    vocabulary = read_checked_vocabulary(folder, info)
    return text.Tokenizer(vocabulary, max_length or info.text["max_length"])


def read_vocabulary(folder: str) -> list[str]:
    """Reads the lines of a folder's vocab.txt; raises UserError if it is missing or corrupted."""
    path = os.path.join(folder, VOCABULARY)
    try:
        return text.parse_vocabulary(tf.io.gfile.GFile(path).read(), path)
    except UnicodeDecodeError as error:
        raise _corrupted(path, error) from error
    except tf.errors.OpError as error:
        raise UserError(f"{path} cannot be read: {error.message}") from error
