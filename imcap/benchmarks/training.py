"""`imcap bench train`: training steps beside the machine's matrix products, a notebook's `fit` and
PyTorch; what the loop does beside a step.

The matrix products of a step are counted for words only: padding is not work. All networks train on
the features and captions of the same records, which are read before the clock starts.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from imcap import input_pipeline, records, runtime, text, train
from imcap.benchmarks import common, loop_cost, products, torch_peer
from imcap.benchmarks.peers import keras_notebook
from imcap.errors import UserError
from imcap.records import staging
from imcap.training import distributed_batches, objectives, strategies
from imcap.training.loop.run import Run
from imcap.training.loop.training_loop import TrainingLoop
from imcap.training.objectives import Batch
from imcap.training.steps import StepOutput

_OBJECTIVE = "cross_entropy"
_STEPS = 10  # Of training, per measurement.
_NOTEBOOK_STEPS = 3
_NOTEBOOK_IMAGES = 32  # Per batch, as notebooks have it.


class _Contender(NamedTuple):
    """What is measured: a function that trains for a while, and the captions that it trains on."""

    train: Callable[[], object]
    captions: int


class _Training(NamedTuple):
    """A new run, the first batches, its step, and what builds its loop."""

    batches: list[Batch]
    step: Callable[..., StepOutput]
    run: Run
    build_loop: Callable[[Run], TrainingLoop]


def benchmark_training(config: ConfigDict, repeats: int) -> list[common.Row]:
    """Measures training on the records of `config.records.dir`.

    Args:
      config: resolved, with finished records.
      repeats: runs of each measurement; the compared ones take turns.

    Raises:
      UserError: no finished records, another objective than cross-entropy, or `repeats` is below
        1.
    """
    if repeats < 1:
        raise UserError(f"--repeats={repeats}: must be at least 1")
    if config.train.objective != _OBJECTIVE:
        raise UserError(
            f"config.train.objective={config.train.objective!r}: only the work of {_OBJECTIVE} is "
            f"counted, give --config.train.objective={_OBJECTIVE}"
        )
    folder = staging.local_folder(config.records.dir, config.records.cache_dir)
    info = train.read_training_info(config, folder)
    shapes = train.gemm_shapes(config, info)
    config = config.copy_and_resolve_references()
    dtype = runtime.choose_dtype(config.train.compute_dtype, shapes).name
    config.train.compute_dtype = dtype
    with tempfile.TemporaryDirectory() as workdir:
        return _measure(config, folder, info, workdir, repeats)


def _measure(
    config: ConfigDict, folder: str, info: records.Info, workdir: str, repeats: int
) -> list[common.Row]:
    shapes, dtype = train.gemm_shapes(config, info), config.train.compute_dtype
    training = _training(config, folder, info, workdir)
    batches = training.batches
    count = products.count(config.model, info.text["vocabulary_size"], *info.feature_shape)
    work = sum(_gflop(count, batch) for batch in batches)
    imcap = _Contender(
        lambda: common.run_steps(training.step, batches), sum(map(_count_captions, batches))
    )
    notebook = _notebook(config, folder, info)
    for contender in (imcap, notebook):
        contender.train()  # Traces the graphs.
    peers = torch_peer.prepare(workdir, batches, config, info, dtype)
    measures = {
        "imcap": lambda: common.seconds(imcap.train),
        "notebook": lambda: common.seconds(notebook.train),
        "gemms": lambda: 1 / runtime.measure_gemms(shapes, [dtype])[dtype],
    }
    times = common.measure_in_turns(measures | peers, repeats)
    return [
        *_rows(dtype, work, imcap.captions, notebook.captions, times),
        *loop_cost.measure(training.run, training.build_loop, training.step, batches),
        *torch_peer.rows(imcap.captions, times["imcap"], {name: times[name] for name in peers}),
    ]


def _rows(
    dtype: str, work: float, captions: int, notebook_captions: int, times: dict[str, list[float]]
) -> list[common.Row]:
    """`work`: GFLOP of the words in all steps of a measurement."""
    median = {name: statistics.median(values) for name, values in times.items()}
    pairs = list(zip(times["imcap"], times["notebook"], times["gemms"], strict=True))
    of_gemms = statistics.median(work / ours * gemm for ours, _, gemm in pairs)
    factor = captions / notebook_captions
    of_notebook = statistics.median(factor * theirs / ours for ours, theirs, _ in pairs)
    return [
        common.Row(f"training, {dtype}", captions / median["imcap"], "captions/s"),
        common.Row("matrix products of the words of a step", work / _STEPS, "GFLOP"),
        common.Row(f"matrix products alone, {dtype}", 1 / median["gemms"], "GFLOP/s"),
        common.Row(
            "matrix products of the words in training", work / median["imcap"], "GFLOP/s",
            of_gemms, at_least=0.7,
        ),
        common.Row(
            "notebook: every prefix a sample, Keras' fit",
            notebook_captions / median["notebook"], "captions/s",
        ),
        common.Row("imcap against the notebook", of_notebook, "times", of_notebook, at_least=25.0),
    ]  # fmt: skip


def _training(config: ConfigDict, folder: str, info: records.Info, workdir: str) -> _Training:
    strategy = strategies.build("none")
    dataset = distributed_batches.distributed_dataset(config, folder, info, strategy, 0)
    run = train.open_run(config, workdir, folder, info, strategy)
    objective = objectives.build(config.train, run.state.decoder, folder, info)
    step = train.build_train_step(config, run.state, objective, strategy, dataset.element_spec)
    iterator = iter(dataset)
    batches = [next(iterator) for _ in range(_STEPS)]
    return _Training(
        batches, step, run, lambda r: train.build_loop(config, r, objective, folder, info)
    )


def _gflop(count: products.Count, batch: Batch) -> float:
    """Returns the work of a training step: forward, and twice that backward."""
    tokens = int(tf.math.count_nonzero(batch["tokens"][..., 1:] != text.PAD))
    return 3e-9 * (len(batch["features"]) * count.per_image + tokens * count.per_word)


def _count_captions(batch: Batch) -> int:
    return int(tf.math.count_nonzero(batch["tokens"][:, :, 0] != text.PAD))


def _notebook(config: ConfigDict, folder: str, info: records.Info) -> _Contender:
    """Returns `model.fit` on the first images; each has one vector, the mean of its features."""
    dataset = input_pipeline.eval_dataset(
        folder, info, "train", batch_size=1, limit=_NOTEBOOK_IMAGES * _NOTEBOOK_STEPS
    )
    features, captions = {}, {}
    for batch in dataset:
        image = batch["image_id"].numpy()[0].decode()
        features[image] = np.mean(tf.cast(batch["features"], tf.float32), axis=1)
        raw = [caption.decode() for caption in batch["captions"].values.numpy()]
        captions[image] = keras_notebook.mark(raw)
    tokenizer, longest = keras_notebook.fit_tokenizer(captions), keras_notebook.longest(captions)
    keras.utils.set_random_seed(config.seed)
    # As many outputs as the decoder beside it has: the tokenizer knows the words of a few images.
    tokenizer.word_index |= {f"[{n}]": n for n in _missing(tokenizer, info)}
    model = keras_notebook.build_model(
        len(tokenizer.word_index) + 1, longest, info.feature_shape[1], config.model
    )
    batches = keras_notebook.data_generator(
        captions, features, tokenizer, longest, _NOTEBOOK_IMAGES
    )
    fit = lambda: model.fit(  # noqa: E731
        batches, steps_per_epoch=_NOTEBOOK_STEPS, shuffle=False, verbose=0
    )
    # A data set of fewer images is repeated.
    images = _NOTEBOOK_IMAGES * _NOTEBOOK_STEPS
    return _Contender(fit, images * sum(map(len, captions.values())) // len(captions))


def _missing(tokenizer: Any, info: records.Info) -> range:
    return range(len(tokenizer.word_index) + 1, info.text["vocabulary_size"])
