"""The record schema: one tf.train.Example per image, and every key in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence

import ml_dtypes
import numpy as np
import tensorflow as tf

from imcap import filesystem
from imcap.records.info import Info

VIEWS = ("features", "features_flip")
# Little-endian on every machine, whatever the host's order.
DTYPES = {
    "float16": np.dtype("<f2"),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float32": np.dtype("<f4"),
}

_RETOKENIZED_AT_ONCE = 256  # Records.


def views(split: str, flip: bool) -> tuple[str, ...]:
    """Returns which of VIEWS the records of a split hold, where `flip` is `records.flip`."""
    return VIEWS if flip and split == "train" else VIEWS[:1]


def record_path(path: str, folder: str) -> str:
    """Returns the path that a record keeps of an image.

    It is relative where the image lies below `folder`, the data set's in any spelling (`~/x`,
    `./x/`), so that the folder may move without a change of the records.
    """
    return filesystem.relative_to(path, folder)


def image_path(path: str | bytes, folder: str) -> str:
    """Returns where an image lies: the inverse of `record_path`.

    Args:
      path: as a record has it.
      folder: the data set's, such as `config.dataset.dir`.
    """
    path = os.fsdecode(path)
    return path if filesystem.is_remote(path) else os.path.join(os.path.expanduser(folder), path)


def serialize(
    image_id: str,
    path: str,
    views: Sequence[np.ndarray],
    captions: Sequence[str],
    tokens: Sequence[np.ndarray],
) -> bytes:
    """Returns one image's Example.

    Args:
      image_id: unique within the data set.
      path: of the image, see `record_path`.
      views: features [positions, channels] in one of DTYPES, written as raw bytes: of the image
        and, if there is a second one, of the mirrored image.
      captions: the raw strings.
      tokens: per caption its ids, int32 [length], START and END included.
    """
    example = tf.train.Example()
    feature = example.features.feature
    feature["image_id"].bytes_list.value.append(image_id.encode("utf-8"))
    feature["path"].bytes_list.value.append(path.encode("utf-8", "surrogateescape"))
    for key, features in zip(VIEWS, views, strict=False):
        feature[key].bytes_list.value.append(features.tobytes())
    feature["captions"].bytes_list.value.extend(c.encode("utf-8", "ignore") for c in captions)
    feature["caption_lengths"].int64_list.value.extend(len(ids) for ids in tokens)
    for ids in tokens:
        feature["caption_tokens"].int64_list.value.extend(ids.tolist())
    # Map fields have no fixed order; the same record must be the same bytes.
    return example.SerializeToString(deterministic=True)


_CAPTION_TOKENS = tf.io.RaggedFeature(
    tf.int64,
    value_key="caption_tokens",
    partitions=[tf.io.RaggedFeature.RowLengths("caption_lengths")],
    row_splits_dtype=tf.int64,
)


def parse(serialized: tf.Tensor, info: Info, view: str = VIEWS[0]) -> dict[str, tf.Tensor]:
    """Parses a batch of Examples.

    Args:
      serialized: string [batch].
      info: of the folder that they come from.
      view: which of VIEWS the features are of.

    Returns:
      image_id string [batch], path string [batch], captions string ragged [batch, None],
      tokens int32 ragged [batch, captions, None], and features in the records' dtype:
      [batch, positions, channels].
    """
    parsed = tf.io.parse_example(
        serialized,
        {
            "image_id": tf.io.FixedLenFeature([], tf.string),
            "path": tf.io.FixedLenFeature([], tf.string),
            view: tf.io.FixedLenFeature([], tf.string),
            "captions": tf.io.RaggedFeature(tf.string, row_splits_dtype=tf.int64),
            "tokens": _CAPTION_TOKENS,
        },
    )
    flat = tf.io.decode_raw(parsed.pop(view), tf.as_dtype(info.feature_dtype))
    return {
        **parsed,
        "features": tf.reshape(flat, (-1, *info.feature_shape)),
        "tokens": tf.cast(parsed["tokens"], tf.int32),
    }


def parse_lengths(serialized: tf.Tensor) -> tf.Tensor:
    """Returns the length of each image's longest caption: string [batch] to int64 [batch]."""
    spec = {"caption_lengths": tf.io.RaggedFeature(tf.int64, row_splits_dtype=tf.int64)}
    lengths = tf.io.parse_example(serialized, spec)["caption_lengths"]
    return tf.reduce_max(lengths.to_tensor(), axis=1)


def retokenize(
    dataset: tf.data.Dataset, encode: Callable[[Sequence[str]], Sequence[np.ndarray]]
) -> Iterator[bytes]:
    """Yields records with their tokens replaced and all else byte for byte the same.

    Args:
      dataset: string [], serialized Examples.
      encode: raw captions to the ids of each, int32 [length].
    """
    for batch in dataset.batch(_RETOKENIZED_AT_ONCE).as_numpy_iterator():
        examples = [tf.train.Example.FromString(serialized) for serialized in batch]
        captions = [_captions(example) for example in examples]
        tokens = iter(encode([caption for found in captions for caption in found]))
        for example, found in zip(examples, captions, strict=True):
            _set_tokens(example, [next(tokens) for _ in found])
            yield example.SerializeToString(deterministic=True)


def _captions(example: tf.train.Example) -> list[str]:
    values = example.features.feature["captions"].bytes_list.value
    return [value.decode("utf-8") for value in values]


def _set_tokens(example: tf.train.Example, tokens: Sequence[np.ndarray]) -> None:
    feature = example.features.feature
    lengths, values = feature["caption_lengths"].int64_list, feature["caption_tokens"].int64_list
    del lengths.value[:], values.value[:]
    lengths.value.extend(len(ids) for ids in tokens)
    for ids in tokens:
        values.value.extend(ids.tolist())
