"""New tokens for old records: a changed vocabulary needs no CNN."""

from __future__ import annotations

from collections.abc import Iterator

import tensorflow as tf

from imcap import text

_BATCH = 256  # Records tokenized in one call.


def retokenize(dataset: tf.data.Dataset, tokenizer: text.Tokenizer) -> Iterator[bytes]:
    """Yields a shard's records with the tokens replaced and all else byte for byte the same.

    Args:
      dataset: string [], serialized Examples.
      tokenizer: of the new vocabulary and length.
    """
    for batch in dataset.batch(_BATCH).as_numpy_iterator():
        examples = [tf.train.Example.FromString(serialized) for serialized in batch]
        captions = [_captions(example) for example in examples]
        tokens = iter(tokenizer.encode([c for found in captions for c in found]))
        for example, found in zip(examples, captions, strict=True):
            _replace(example, [next(tokens) for _ in found])
            yield example.SerializeToString(deterministic=True)


def _captions(example: tf.train.Example) -> list[str]:
    values = example.features.feature["captions"].bytes_list.value
    return [value.decode("utf-8") for value in values]


def _replace(example: tf.train.Example, tokens: list) -> None:
    feature = example.features.feature
    lengths, values = feature["caption_lengths"].int64_list, feature["caption_tokens"].int64_list
    del lengths.value[:], values.value[:]
    lengths.value.extend(len(ids) for ids in tokens)
    for ids in tokens:
        values.value.extend(ids.tolist())
