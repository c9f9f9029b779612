"""The record schema: one tf.train.Example per image, and every key in it."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from imcap import filesystem
from imcap.records import features as features_lib
from imcap.records.info import Info
from imcap.records.views import FEATURES, FLIPPED, SCALE

_RETOKENIZED_AT_ONCE = 256  # Records.


def path_in_record(path: str, folder: str) -> str:
    """Returns the path that a record keeps of an image.

    It is relative where the image lies below `folder`, the data set's in any spelling (`~/x`,
    `./x/`), so that the folder may move without a change of the records.
    """
    return filesystem.relative_to(path, folder)


def image_path(path: str | bytes, folder: str) -> str:
    """Returns where an image lies: the inverse of `path_in_record`.

    Args:
      path: as a record has it.
      folder: the data set's, such as `config.dataset.dir`.
    """
    path = os.fsdecode(path)
    return path if filesystem.is_remote(path) else os.path.join(os.path.expanduser(folder), path)


def serialize(
    image_id: str,
    path: str,
    features: Sequence[np.ndarray],
    captions: Sequence[str],
    tokens: Sequence[np.ndarray],
    *,
    keys: Sequence[str] = (FEATURES, FLIPPED),
    dtype: str = "",
) -> bytes:
    """Returns one image's Example.

    Args:
      image_id: unique within the data set.
      path: of the image, see `path_in_record`.
      features: arrays [positions, channels] of one float dtype, of one view each.
      captions: the raw strings.
      tokens: per caption its ids, int32 [length], START and END included.
      keys: of the views, in the same order (`Views.keys`).
      dtype: a name in DTYPES to store the features as; empty: their own.
    """
    example = tf.train.Example()
    feature = example.features.feature
    feature["image_id"].bytes_list.value.append(image_id.encode("utf-8"))
    feature["path"].bytes_list.value.append(path.encode("utf-8", "surrogateescape"))
    for key, array in zip(keys, features, strict=False):
        _add_features(example, key, array, dtype)
    feature["captions"].bytes_list.value.extend(c.encode("utf-8", "ignore") for c in captions)
    feature["caption_lengths"].int64_list.value.extend(len(ids) for ids in tokens)
    for ids in tokens:
        feature["caption_tokens"].int64_list.value.extend(ids.tolist())
    # Map fields have no fixed order; the same record must be the same bytes.
    return example.SerializeToString(deterministic=True)


def _add_features(example: tf.train.Example, key: str, array: np.ndarray, dtype: str) -> None:
    feature = example.features.feature
    if dtype == features_lib.QUANTIZED:
        levels, scale = features_lib.quantize(tf.constant(array[np.newaxis]))
        stored = features_lib.compress(levels.numpy().tobytes())
        feature[key + SCALE].float_list.value.extend(scale.numpy()[0].tolist())
    else:
        stored = array.astype(features_lib.DTYPES[dtype] if dtype else array.dtype).tobytes()
    feature[key].bytes_list.value.append(stored)


_CAPTION_TOKENS = tf.io.RaggedFeature(
    tf.int64,
    value_key="caption_tokens",
    partitions=[tf.io.RaggedFeature.RowLengths("caption_lengths")],
    row_splits_dtype=tf.int64,
)


def parse(serialized: tf.Tensor, info: Info, key: str = FEATURES) -> dict[str, tf.Tensor]:
    """Parses a batch of Examples.

    Args:
      serialized: string [batch].
      info: of the folder that they come from.
      key: of the features to parse, one of the split's `views`.

    Returns:
      image_id string [batch], path string [batch], captions string ragged [batch, None],
      tokens int32 ragged [batch, captions, None], and features [batch, positions, channels] in
      the records' dtype, float32 where that is uint8.
    """
    parsed = tf.io.parse_example(
        serialized,
        {
            "image_id": tf.io.FixedLenFeature([], tf.string),
            "path": tf.io.FixedLenFeature([], tf.string),
            **_features_spec(info, key),
            "captions": tf.io.RaggedFeature(tf.string, row_splits_dtype=tf.int64),
            "tokens": _CAPTION_TOKENS,
        },
    )
    features = _decode_features(parsed.pop(key), parsed.pop(key + SCALE, None), info)
    tokens = tf.cast(parsed["tokens"], tf.int32)
    return {**parsed, "features": features, "tokens": tokens}


def parse_view(
    serialized: tf.Tensor, info: Info, keys: Sequence[str], number: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Parses one view of an Example as far as it takes no more memory.

    Args:
      serialized: string [].
      info: of the folder that it comes from.
      keys: of its views.
      number: of the view to parse, int32 [].

    Returns:
      What `unpack` takes once elements are padded with zeros to a batch: image_id string [],
      caption_lengths int64 [captions], caption_tokens int64 [tokens], and the features as they are
      stored.
    """

    def parse_key(key: str) -> dict[str, tf.Tensor]:
        spec = {
            "image_id": tf.io.FixedLenFeature([], tf.string),
            **_features_spec(info, key),
            "caption_lengths": tf.io.RaggedFeature(tf.int64),
            "caption_tokens": tf.io.RaggedFeature(tf.int64),
        }
        parsed = tf.io.parse_single_example(serialized, spec)
        return {name.replace(key, FEATURES): value for name, value in parsed.items()}

    return tf.switch_case(number, [functools.partial(parse_key, key) for key in keys])


def unpack(packed: dict[str, tf.Tensor], info: Info) -> dict[str, tf.Tensor]:
    """Returns image_id, tokens and features as `parse` does, of a batch from `parse_view`."""
    lengths, tokens = packed["caption_lengths"], packed["caption_tokens"]
    tokens = tf.RaggedTensor.from_tensor(tokens, lengths=tf.reduce_sum(lengths, axis=1))
    captions = tf.RaggedTensor.from_tensor(lengths, padding=0)  # A caption has START and END.
    return {
        "image_id": packed["image_id"],
        "features": _decode_features(packed[FEATURES], packed.get(FEATURES + SCALE), info),
        "tokens": tf.RaggedTensor.from_nested_row_lengths(
            tf.cast(tokens.values, tf.int32), [captions.row_lengths(), captions.values]
        ),
    }


def _features_spec(info: Info, key: str) -> dict[str, tf.io.FixedLenFeature]:
    spec = {key: tf.io.FixedLenFeature([], tf.string)}
    if info.feature_dtype == features_lib.QUANTIZED:
        spec[key + SCALE] = tf.io.FixedLenFeature([2], tf.float32)
    return spec


def _decode_features(stored: tf.Tensor, scale: tf.Tensor | None, info: Info) -> tf.Tensor:
    """string [batch] to [batch, positions, channels]; `scale`: of levels, float32 [batch, 2]."""
    if scale is not None:
        stored = features_lib.decompress(stored)
    flat = tf.io.decode_raw(stored, tf.as_dtype(info.feature_dtype))
    features = tf.reshape(flat, (-1, *info.feature_shape))
    return features if scale is None else features_lib.dequantize(features, scale)


def parse_tokens(serialized: tf.Tensor) -> tf.Tensor:
    """Returns the token ids of all captions in a row: string [batch] to int64 [tokens]."""
    spec = {"tokens": tf.io.RaggedFeature(tf.int64, value_key="caption_tokens")}
    return tf.io.parse_example(serialized, spec)["tokens"].values


def parse_captions(serialized: tf.Tensor) -> tf.Tensor:
    """Returns the token ids of a batch's captions without the features: string [batch] to int32
    [batch, captions, length], 0 where a caption or the list of captions ends."""
    parsed = tf.io.parse_example(serialized, {"tokens": _CAPTION_TOKENS})
    return tf.cast(parsed["tokens"].to_tensor(), tf.int32)


def parse_longest(serialized: tf.Tensor) -> tf.Tensor:
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
