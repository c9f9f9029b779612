"""The files by which TensorFlow Datasets reads a records folder: `tfds.builder_from_directory`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from imcap.records.features import QUANTIZED
from imcap.records.info import Info
from imcap.records.schema import SCALE

FEATURES_JSON, DATASET_INFO = "features.json", "dataset_info.json"

_CONNECTORS = "tensorflow_datasets.core.features"
_SHARDS = "{SPLIT}-{SHARD_X_OF_Y}.{FILEFORMAT}"  # See `shards.shard_name`.


def format_tfds_files(info: Info) -> dict[str, str]:
    """Returns the content of each file by its name; none where TFDS cannot read the shards.

    TFDS reads uncompressed shards only, and the same keys in every split: a view is left out where
    not every split has it.
    """
    if info.compression:
        return {}
    files = {FEATURES_JSON: _features(info), DATASET_INFO: _dataset_info(info)}
    return {name: json.dumps(content, indent=2) + "\n" for name, content in files.items()}


def _dataset_info(info: Info) -> dict[str, Any]:
    """Returns a DatasetInfo message as JSON, in which int64 are strings."""
    return {
        "name": info.dataset["name"],
        "version": f"{info.schema_version}.0.0",
        "description": "Features and captions of images: the records of imcap.",
        "fileFormat": "tfrecord",
        "splits": [
            {
                "name": name,
                "filepathTemplate": _SHARDS,
                "numBytes": str(sum(split["shard_bytes"])),
                "shardLengths": [str(length) for length in split["shard_lengths"]],
            }
            for name, split in sorted(info.splits.items())
        ],
    }


def _features(info: Info) -> dict[str, Any]:
    text = {"pythonClassName": f"{_CONNECTORS}.text_feature.Text", "text": {}}
    number = _tensor((), "int64", "none")
    return {
        "type": f"{_CONNECTORS}.features_dict.FeaturesDict",
        "proto_cls": "tensorflow_datasets.FeaturesDict",
        "content": {
            "features": {
                "image_id": text,
                "path": text,
                **dict(_views(info)),
                "captions": _sequence(text),
                "caption_tokens": _sequence(number),
                "caption_lengths": _sequence(number),
            }
        },
    }


def _views(info: Info) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the keys of the views that all splits have, with what they hold."""
    in_all = set.intersection(*(set(split["views"]) for split in info.splits.values()))
    is_quantized = info.feature_dtype == QUANTIZED
    for key in sorted(in_all):
        encoding = "zlib" if is_quantized else "bytes"
        yield key, _tensor(info.feature_shape, info.feature_dtype, encoding)
        if is_quantized:
            yield key + SCALE, _tensor((2,), "float32", "none")


def _tensor(shape: tuple[int, ...], dtype: str, encoding: str) -> dict[str, Any]:
    dimensions = {"dimensions": [str(size) for size in shape]} if shape else {}
    return {
        "pythonClassName": f"{_CONNECTORS}.tensor_feature.Tensor",
        "tensor": {"shape": dimensions, "dtype": dtype, "encoding": encoding},
    }


def _sequence(feature: dict[str, Any]) -> dict[str, Any]:
    return {
        "pythonClassName": f"{_CONNECTORS}.sequence_feature.Sequence",
        "sequence": {"feature": feature, "length": "-1"},
    }
