"""The index of a run's training images: computed from the records once, and kept in the run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf
from absl import logging
from ml_collections import ConfigDict

from imcap import filesystem, hashing, input_pipeline, progress, records, text
from imcap.decoders.base import DecoderLike
from imcap.decoding import neighbors
from imcap.decoding.neighbors import NeighborIndex
from imcap.errors import UserError
from imcap.metrics.document_frequencies import DocumentFrequencies, check_vocabulary
from imcap.records import corruption

FILE = "neighbors.npz"  # In the run's folder.
_DIGEST = "digest"
_FORMAT = 1  # Of the file; another one is made anew.
_BATCH_SIZE = 64  # Images.
_CAPTIONS = 5  # Of an image at most: they bound time and memory where some have many.


def read_or_build(
    workdir: str,
    info: records.Info,
    decode: ConfigDict,
    folder: Callable[[], str],
    decoder: DecoderLike | None = None,
    *,
    skip_corrupted: bool = False,
) -> NeighborIndex:
    """Returns the index of a run's training images.

    Reads `WORKDIR/neighbors.npz`. Where that is missing, corrupted, or of other records or
    settings, computes it from the training split's records and writes it.

    Args:
      workdir: the run's folder.
      info: the records' info.json.
      decode: a config's `decode` part; `rerank_images` and `rerank_dimensions` are read.
      folder: returns the local folder of the records with their shards, if they have to be read.
      decoder: images are compared by what it encodes; None: by their features.
      skip_corrupted: leave out what a corrupted shard has lost.

    Raises:
      UserError: there is no training image, a shard is corrupted, the vocabulary has more than
        65,536 token ids, or the file cannot be written.
    """
    path = os.path.join(workdir, FILE)
    digest = _digest(info, decode, decoder, skip_corrupted)
    if index := _read(path, digest):
        return index
    index = build(
        folder(),
        info,
        decoder,
        images=decode.rerank_images,
        dimensions=decode.rerank_dimensions,
        skip_corrupted=skip_corrupted,
    )
    filesystem.write_arrays(path, {_DIGEST: np.array(digest), **index.arrays()})
    return index


def _digest(
    info: records.Info, decode: ConfigDict, decoder: DecoderLike | None, skip_corrupted: bool
) -> str:
    """Returns a hash of what the index depends on."""
    info.require_split("train")
    train = info.splits["train"]
    encoding = decoder.encoding_digest() if decoder else ""
    return hashing.digest_of([
        _FORMAT,
        _CAPTIONS,
        decode.rerank_images,
        decode.rerank_dimensions,
        train["shard_lengths"],
        train["shard_digests"],
        info.feature_shape,
        info.feature_dtype,
        info.vocabulary_digest,
        *([encoding] if encoding else []),
        *(["skip_corrupted"] if skip_corrupted else []),
    ])  # fmt: skip


def _read(path: str, digest: str) -> NeighborIndex | None:
    arrays = filesystem.read_arrays(path)
    if arrays is None:
        return None
    try:
        if str(arrays[_DIGEST]) == digest:
            return NeighborIndex.from_arrays(arrays)
    except KeyError:
        pass
    logging.info("%s is of other records or settings: it is made anew", path)
    return None


def build(
    folder: str,
    info: records.Info,
    decoder: DecoderLike | None = None,
    *,
    images: int,
    dimensions: int,
    skip_corrupted: bool = False,
) -> NeighborIndex:
    """Computes the index from the records of the training split.

    Of an image's two views the first one is used, and of its captions the first five that have a
    word; document frequencies are those of all captions of the images that are read.

    Args:
      folder: the local records folder.
      info: its info.json.
      decoder: images are compared by what it encodes; None: by their features.
      images: at most, the first ones of the split. A hash of an image's id decides its shard, so
        that the first shards are a sample of all. Memory grows with them: 4 bytes a channel each.
      dimensions: of an image's vector at most.
      skip_corrupted: leave out what a corrupted shard has lost.

    Raises:
      UserError: as `read_or_build`.
    """
    size = info.text["vocabulary_size"]
    check_vocabulary(size)
    if not info.num_images("train"):
        raise UserError(
            f"{folder} holds no training image, and config.decode.rerank needs some: run "
            "`imcap records` on a split train, or give --config.decode.rerank=none"
        )
    if skip_corrupted:
        info = corruption.skip_corrupted(folder, info, "train")
    pooled: list[np.ndarray] = []
    captions: list[np.ndarray] = []
    batches = _read_batches(folder, info, decoder, images, pooled, captions)
    try:
        frequencies = DocumentFrequencies.count(batches, size)
    except corruption.ERRORS as error:
        corruption.raise_corrupted(folder, info, "train", error)
    return NeighborIndex.build(
        np.concatenate(pooled), np.concatenate(captions), frequencies, dimensions
    )


def _read_batches(
    folder: str,
    info: records.Info,
    decoder: DecoderLike | None,
    images: int,
    pooled: list[np.ndarray],
    captions: list[np.ndarray],
) -> Iterator[np.ndarray]:
    """Yields the words of batches, int32 [batch, captions, length], and appends to the lists their
    pooled features and the captions to keep."""
    dataset = input_pipeline.eval_dataset(
        folder, info, "train", batch_size=_BATCH_SIZE, limit=images
    )

    @tf.function(input_signature=[dataset.element_spec["features"]], autograph=False)
    def pool(features: tf.Tensor) -> tf.Tensor:
        return neighbors.pool(decoder.encode(features) if decoder else features)

    with progress.bar("index", "image", min(images, info.num_images("train"))) as bar:
        for batch in dataset:
            tokens = batch["tokens"].numpy()[..., 1:]  # START is no word.
            words = np.where(tokens == text.END, text.PAD, tokens)
            pooled.append(pool(batch["features"]).numpy())
            captions.append(_first_captions(words, info.text["max_length"]))
            bar.update(len(words))
            yield words


def _first_captions(words: np.ndarray, length: int) -> np.ndarray:
    """Returns the first captions of each image that have a word: uint16 [batch, 5, length]."""
    order = np.argsort(words[..., :1].max(axis=2, initial=0) == text.PAD, axis=1, kind="stable")
    words = np.take_along_axis(words, order[..., np.newaxis], axis=1)[:, :_CAPTIONS, :length]
    missing = [(0, 0), (0, _CAPTIONS - words.shape[1]), (0, length - words.shape[2])]
    return np.pad(words, missing, constant_values=text.PAD).astype(np.uint16)
