"""The PyTorch rows of `imcap bench train`: the same training steps, in processes of their own.

`peers.torch_training` takes them on the batches that imcap trains on, with as many threads.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import statistics
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf
from absl import logging
from ml_collections import ConfigDict

from imcap import records
from imcap.benchmarks import common
from imcap.training.objectives import Batch

_PROCESS = "imcap.benchmarks.peers.torch_training"
_AT_LEAST = 1.5
_DTYPES = ("float32", "bfloat16")


def prepare(
    folder: str, batches: Sequence[Batch], config: ConfigDict, info: records.Info, dtype: str
) -> dict[str, Callable[[], float]]:
    """Returns functions that give the seconds of PyTorch for all batches, by dtype of its products.

    There are none, and a line says why, where PyTorch cannot be measured.

    Args:
      folder: for a file of the batches.
      batches: with `features` [images, positions, channels] and `tokens` [images, captions,
        length].
      config: what imcap trains with.
      info: of the records.
      dtype: of imcap's products.
    """
    if reason := _why_not(config):
        logging.info("PyTorch is not measured: %s", reason)
        return {}
    path = os.path.join(folder, "batches.npz")
    _save_batches(path, batches, config, info)
    names = [name for name in _DTYPES if name in ("float32", dtype)]
    return {name: functools.partial(_measure, path, name) for name in names}


def _why_not(config: ConfigDict) -> str:
    model = config.model
    if importlib.util.find_spec("torch") is None:
        return "it is not installed (pip install 'imcap[torch]')"
    if tf.config.list_physical_devices("GPU"):
        return "its rows are of a CPU, and there is a GPU"
    if (model.decoder, model.layers, model.heads) != ("attention", 1, 1):
        return "its decoder has attention with one head, and one LSTM layer"
    return ""


def _save_batches(
    path: str, batches: Sequence[Batch], config: ConfigDict, info: records.Info
) -> None:
    settings = {
        "batches": len(batches),
        "vocab_size": info.text["vocabulary_size"],
        "channels": info.feature_shape[1],
        "model": config.model.to_dict(),
        "train": config.train.to_dict(),
    }
    arrays = {"settings": np.array(json.dumps(settings))}
    for index, batch in enumerate(batches):
        arrays[f"features_{index}"] = tf.cast(batch["features"], tf.float16).numpy()
        arrays[f"tokens_{index}"] = batch["tokens"].numpy()
    np.savez(path, allow_pickle=False, **arrays)


def _measure(path: str, dtype: str) -> float:
    return common.run_module(_PROCESS, path, dtype, str(os.cpu_count()))["seconds"]


def rows(
    captions: int, imcap: Sequence[float], peer: Mapping[str, Sequence[float]]
) -> list[common.Row]:
    """Returns the rows of PyTorch; none if it was not measured.

    Args:
      captions: of a measurement, the same of both.
      imcap: seconds of each measurement.
      peer: by dtype, those of PyTorch, taken in turns with imcap's.
    """
    if not peer:
        return []
    found = [
        common.Row(
            f"PyTorch, LSTMCell in a loop over words, {dtype}",
            captions / statistics.median(seconds),
            "captions/s",
        )
        for dtype, seconds in peer.items()
    ]
    fastest = [min(seconds) for seconds in zip(*peer.values(), strict=True)]
    factor = statistics.median(b / a for a, b in zip(imcap, fastest, strict=True))
    return [*found, common.Row("imcap against PyTorch", factor, "times", factor, _AT_LEAST)]
