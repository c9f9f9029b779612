"""`imcap bench decode`: beam search beside a Python loop, the machine's products and reranking.

All rows are measured in one process, in turns, on the same features: of a run's records, or random
ones for random weights. The products of a search are counted for live beams only: those of the
steps until all captions of an image have ended.
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from imcap import config as config_lib
from imcap import decoders, input_pipeline, records, runtime
from imcap.benchmarks import common, products
from imcap.benchmarks.peers.python_search import Caption, CaptionGenerator
from imcap.decoders.base import DecoderLike
from imcap.decoding import beam_search, members, neighbor_files, rerank
from imcap.decoding.beam_search import SearchResult
from imcap.encoders import networks
from imcap.encoders.encoder import Encoder
from imcap.errors import UserError
from imcap.records import corruption, staging
from imcap.text import PAD
from imcap.training import checkpoints

_IMAGES = 64  # In a batch beside the loop; every search is of these images.
_BATCH = 32  # Images at a time beside the machine's products.
_SINGLE_IMAGES = 16
_BEAM, _WIDE_BEAM = 5, 20
_LOOP_AT_LEAST = 20.0
# Rounding differs between a batch and a single image, and decides between captions of equal rank.
_SAME_AT_LEAST = 0.95
_GEMMS_AT_LEAST = 0.6
_SINGLE_AT_MOST = 10.0  # ms
_RERANK_AT_MOST = 1.3
_SPLITS = ("dev", "train", "test")  # The first one that has images is captioned.

_Search = Callable[[tf.Tensor], SearchResult]
_Times = dict[str, list[float]]  # Seconds of each turn; of `gemms`, those of a GFLOP.


class _Subject(NamedTuple):
    """What is measured.

    Attributes:
      decoder: trained or not.
      features: [_IMAGES, positions, channels].
      vocab_size: number of token ids.
      operations: of the decoder's products.
      records: the folder and its info.json; None for random weights.
    """

    decoder: DecoderLike
    features: tf.Tensor
    vocab_size: int
    operations: products.Count
    records: tuple[str, records.Info] | None


def benchmark_decoding(
    config: ConfigDict,
    repeats: int,
    workdir: str = "",
    checkpoint: Sequence[str] = (checkpoints.BEST,),
) -> list[common.Row]:
    """Measures captioning from features.

    Args:
      config: resolved, with finished records; without a run, any.
      repeats: runs of each measurement; the compared ones take turns.
      workdir: the run's folder; empty: random weights of the config's sizes, whose captions are as
        long as `decode.max_length` allows.
      checkpoint: which of the run's weights; see `members.find`.

    Raises:
      UserError: `repeats` is below 1, no finished records, nothing trained, or the run was trained
        with another config.
    """
    if repeats < 1:
        raise UserError(f"--repeats={repeats}: must be at least 1")
    subject = _of_run(config, workdir, checkpoint) if workdir else _of_random_weights(config)
    decode, features = _with_beam(config.decode, _BEAM), subject.features
    search, generator = _search(subject, decode), CaptionGenerator(subject.decoder, decode)
    images = [features[i : i + 1] for i in range(_IMAGES)]
    batches = tf.split(features, _IMAGES // _BATCH)
    # The first calls trace the graphs.
    found, looped = search(features), [generator.caption(image) for image in images]
    shapes = _gemm_shapes(config.model, subject)
    measures = {
        "search": lambda: common.seconds(lambda: search(features)),
        "loop": lambda: common.seconds(lambda: [generator.caption(image) for image in images]),
        "batches": lambda: common.seconds(lambda: [search(batch) for batch in batches]),
        "gemms": lambda: 1 / runtime.measure_gemms(shapes)["float32"],
        "single": lambda: _median_seconds(search, images[:_SINGLE_IMAGES]),
    }
    times = common.measure_in_turns(measures, repeats)
    rows = [
        *_rows_beside_loop(times, _share_of_same(found, looped)),
        *_rows_beside_products(times, _gflop(subject.operations, found)),
        _row_of_single_image(times),
        *_rows_of_reranking(config, subject, repeats),
    ]
    return rows if workdir else [_of_random(row) for row in rows]


def _of_run(config: ConfigDict, workdir: str, checkpoint: Sequence[str]) -> _Subject:
    folder = staging.local_folder(config.records.dir, config.records.cache_dir)
    info = records.read_info(folder)
    config_lib.check_run(config, workdir)
    found = members.find(workdir, checkpoint)
    decoder, size = members.load(found, config, info), info.text["vocabulary_size"]
    if decoder.encoding_digest():
        raise UserError(f"{workdir} has tuned layers of the encoder: their work is not counted")
    counts = [
        products.count(members.read_config(member, config).model, size, *info.feature_shape)
        for member in found
    ]
    count = products.Count(sum(c.per_image for c in counts), sum(c.per_word for c in counts))
    return _Subject(decoder, _read_features(folder, info), size, count, (folder, info))


def _read_features(folder: str, info: records.Info) -> tf.Tensor:
    """Returns the features of the first images of a split, repeated if there are fewer."""
    splits = [name for name in _SPLITS if name in info.splits and info.num_images(name)]
    if not splits:
        raise UserError(f"{folder} holds no image to caption")
    split = splits[0]
    dataset = input_pipeline.eval_dataset(folder, info, split, batch_size=_IMAGES, limit=_IMAGES)
    try:
        features = next(iter(dataset))["features"]
    except corruption.ERRORS as error:
        corruption.raise_corrupted(folder, info, split, error)
    return tf.gather(features, np.arange(_IMAGES) % len(features))


def _of_random_weights(config: ConfigDict) -> _Subject:
    encoder = config_lib.resolve(config, "").encoder
    encoder.weights = ""
    shape = Encoder(*networks.load(encoder), encoder.image_size).feature_shape
    size = config.text.vocab_size
    decoder = decoders.build(config.model, size, shape[1], seed=config.seed)
    features = tf.random.stateless_uniform([_IMAGES, *shape], (config.seed, 0))
    return _Subject(decoder, features, size, products.count(config.model, size, *shape), None)


def _of_random(row: common.Row) -> common.Row:
    row.name = f"random weights: {row.name}"
    return row


def _with_beam(decode: ConfigDict, beam_size: int) -> ConfigDict:
    decode = decode.copy_and_resolve_references()
    decode.beam_size = beam_size
    return decode


def _search(
    subject: _Subject, decode: ConfigDict, reranker: rerank.Reranker = rerank.keep_order
) -> _Search:
    """Returns the graph of evaluation and of exported models, which waits for its result."""
    features = subject.features
    spec = tf.TensorSpec([None, *features.shape[1:]], features.dtype)
    graph = tf.function(
        lambda x: reranker(
            beam_search.search(subject.decoder, x, decode), subject.decoder.encode(x)
        ),
        input_signature=[spec],
        autograph=False,
    )
    return lambda x: SearchResult(*(values.numpy() for values in graph(x)))


def _median_seconds(search: _Search, images: Sequence[tf.Tensor]) -> float:
    return statistics.median(common.seconds(functools.partial(search, image)) for image in images)


def _share_of_same(found: SearchResult, looped: Sequence[Sequence[Caption]]) -> float:
    """Returns for how many of the images both have the same best caption."""
    best = [tuple(row[row != PAD].tolist()) for row in found.tokens[:, 0]]
    return float(np.mean([a == b[0].tokens for a, b in zip(best, looped, strict=True)]))


def _gflop(count: products.Count, found: SearchResult) -> float:
    """Returns the work of a search: an image's beams are alive until the last of them has ended."""
    images, width, _ = found.tokens.shape
    steps = np.count_nonzero(found.tokens, axis=2).max(axis=1).sum()
    return 1e-9 * (images * count.per_image + int(steps) * width * count.per_word)


def _gemm_shapes(model: ConfigDict, subject: _Subject) -> list[runtime.GemmShape]:
    """Returns (m, k, n) of the products that take most of a search's time while no image ended."""
    _, positions, channels = subject.features.shape
    rows, size, units = _BATCH * _BEAM, model.embedding_size, model.units
    return [
        (rows, size, subject.vocab_size),  # The output layer.
        (rows, 2 * units, 4 * units),  # The LSTM's recurrent kernel.
        (rows, size, 4 * units),  # The LSTM's input kernel.
        (_BATCH * positions, channels, units),  # The features' projection.
    ]


def _rows_beside_loop(times: _Times, same: float) -> list[common.Row]:
    ours, theirs = (statistics.median(times[name]) for name in ("search", "loop"))
    factor = _median_ratio(times["loop"], times["search"])
    loop = "Python loop over steps and beams, image by image"
    name = f"beam {_BEAM}, batch {_IMAGES}"
    return [
        common.Row(name, _IMAGES / ours, "captions/s"),
        common.Row(name, 1e3 * ours / _IMAGES, "ms/image"),
        common.Row(loop, _IMAGES / theirs, "captions/s"),
        common.Row("best captions that both have", same, "of all", same, _SAME_AT_LEAST),
        common.Row("search against the loop", factor, "times", factor, _LOOP_AT_LEAST),
    ]


def _rows_beside_products(times: _Times, work: float) -> list[common.Row]:
    """`work`: GFLOP of the live beams of all images."""
    ours, gemms = (statistics.median(times[name]) for name in ("batches", "gemms"))
    share = work * _median_ratio(times["gemms"], times["batches"])
    name = f"beam {_BEAM}, batch {_BATCH}"
    return [
        common.Row(name, 1e3 * ours / _IMAGES, "ms/image"),
        common.Row("matrix products of live beams", work / _IMAGES, "GFLOP/image"),
        common.Row("matrix products alone, float32", 1 / gemms, "GFLOP/s"),
        common.Row(
            f"matrix products of live beams, {name}", work / ours, "GFLOP/s", share, _GEMMS_AT_LEAST
        ),
    ]


def _row_of_single_image(times: _Times) -> common.Row:
    value = 1e3 * statistics.median(times["single"])
    name = f"beam {_BEAM}, a single image"
    return common.Row(name, value, "ms", value, at_most=_SINGLE_AT_MOST)


def _rows_of_reranking(config: ConfigDict, subject: _Subject, repeats: int) -> list[common.Row]:
    """Returns nothing where there is no training caption to rerank by."""
    if subject.records is None:
        return []
    folder, info = subject.records
    if "train" not in info.splits or not info.num_images("train"):
        return []
    index: list[neighbor_files.NeighborIndex] = []
    seconds = common.seconds(lambda: index.append(_build_index(config, folder, info)))
    decode, features = _with_beam(config.decode, _WIDE_BEAM), subject.features
    alone = _search(subject, decode)
    reranked = _search(subject, decode, rerank.Consensus(index[0], decode))
    measures = {
        "alone": lambda: common.seconds(lambda: alone(features)),
        "reranked": lambda: common.seconds(lambda: reranked(features)),
    }
    common.measure_in_turns(measures, 1)  # Traces the graphs.
    times = common.measure_in_turns(measures, repeats)
    ms = {name: 1e3 * statistics.median(values) / _IMAGES for name, values in times.items()}
    ratio = _median_ratio(times["reranked"], times["alone"])
    name = f"beam {_WIDE_BEAM}, batch {_IMAGES}"
    return [
        common.Row(name, ms["alone"], "ms/image"),
        common.Row(
            f"{name}, reranked by consensus", ms["reranked"], "ms/image", ratio,
            at_most=_RERANK_AT_MOST,
        ),
        common.Row("index of the training images, made once", seconds, "s"),
    ]  # fmt: skip


def _build_index(
    config: ConfigDict, folder: str, info: records.Info
) -> neighbor_files.NeighborIndex:
    return neighbor_files.build(
        folder,
        info,
        images=config.decode.rerank_images,
        dimensions=config.decode.rerank_dimensions,
        skip_corrupted=config.records.skip_corrupted,
    )


def _median_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    return statistics.median(a / b for a, b in zip(numerators, denominators, strict=True))
