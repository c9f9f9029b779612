"""What `imcap bench notebook` compares: imcap and a notebook's captioner, each in three phases.

    python -m imcap.benchmarks.peers.notebook_phases CONTENDER PHASE WORKDIR

runs a phase in a process of its own, with WORKDIR/config.json, and prints the figures as JSON. A
phase continues from the files that the one before left in WORKDIR.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import pickle
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import keras
from ml_collections import ConfigDict

from imcap import config as config_lib
from imcap import export, filesystem, runtime, train
from imcap.benchmarks import common
from imcap.benchmarks.peers import encoding, keras_notebook
from imcap.serving.captioner import Captioner, Failure

TABLE = "captions.csv"  # In the data set's folder, with the columns image, split and caption.
_FEATURES, _TOKENIZER, _MODEL = "features.pkl", "tokenizer.pkl", "model.keras"

Figures = dict[str, float]


def read_captions(config: ConfigDict, split: str) -> dict[str, list[str]]:
    """Returns a split's raw captions by the image's path, in the table's order."""
    found: dict[str, list[str]] = {}
    folder = config.dataset.dir
    with open(os.path.join(folder, TABLE), newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["split"] == split:
                path = os.path.join(folder, row["image"])
                found.setdefault(path, []).append(row["caption"])
    return found


def predicted_path(workdir: str, contender: str) -> str:
    """Returns the path of the JSON file of a contender's captions of the dev images, in order."""
    return os.path.join(workdir, f"{contender}_captions.json")


def build_records(workdir: str, config: ConfigDict) -> Figures:
    """Runs the records job; `bytes` is the size of its folder."""
    from beam_jobs import build_records as job

    with contextlib.redirect_stdout(io.StringIO()):
        job.build_records(config, workdir=workdir)
    return {"bytes": _folder_size(config.records.dir)}


def pickle_features(workdir: str, config: ConfigDict) -> Figures:
    """Encodes each image with `model.predict`; pickles the features and the tokenizer."""
    captions = _marked_captions(config)
    encode = encoding.build_predict(config.encoder)
    features = {path: encode(path) for path in [*captions, *read_captions(config, "dev")]}
    folder = _notebook_folder(workdir)
    os.makedirs(folder)
    _pickle(os.path.join(folder, _FEATURES), features)
    _pickle(os.path.join(folder, _TOKENIZER), keras_notebook.fit_tokenizer(captions))
    return {"bytes": _folder_size(folder)}


def train_imcap(workdir: str, config: ConfigDict) -> Figures:
    """Trains as `imcap train` does, with its checkpoints and one scoring of dev."""
    trained = train.train_and_evaluate(config, workdir)
    rates = [float(row["captions_per_second"]) for row in trained.history.rows]
    return {"captions_per_second": statistics.median(rates)}


def train_notebook(workdir: str, config: ConfigDict) -> Figures:
    """Trains with `model.fit` on the generator, and saves the model."""
    captions = _marked_captions(config)
    features, tokenizer = _unpickle(workdir, _FEATURES), _unpickle(workdir, _TOKENIZER)
    max_length, batch_size = keras_notebook.longest(captions), config.train.batch_size
    channels = next(iter(features.values())).shape[1]
    keras.utils.set_random_seed(config.seed)
    vocab_size = len(tokenizer.word_index) + 1
    model = keras_notebook.build_model(vocab_size, max_length, channels, config.model)
    captions_per_image = sum(map(len, captions.values())) / len(captions)
    rate = _Rate(captions_per_image * batch_size)
    model.fit(
        keras_notebook.data_generator(captions, features, tokenizer, max_length, batch_size),
        steps_per_epoch=max(len(captions) // batch_size, 1),
        epochs=config.train.epochs,
        callbacks=[rate],
        shuffle=False,  # Keras cannot shuffle a generator, and warns otherwise.
        verbose=0,
    )
    model.save(os.path.join(_notebook_folder(workdir), _MODEL))
    return {"captions_per_second": statistics.median(rate.rates)}


class _Rate(keras.callbacks.Callback):
    """Each epoch's captions per second after its first batch, which may trace the graph.

    Attributes:
      rates: of the finished epochs.
    """

    def __init__(self, captions_per_batch: float) -> None:
        super().__init__()
        self.rates: list[float] = []
        self._captions, self._start, self._batches = captions_per_batch, 0.0, 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if batch == 0:
            self._start = time.monotonic()
        self._batches = batch

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        seconds = max(time.monotonic() - self._start, 1e-9)
        self.rates.append(self._batches * self._captions / seconds)


def caption_imcap(workdir: str, config: ConfigDict) -> Figures:
    """Captions the dev images' files with the exported model: one by one, then in batches."""
    model, paths = Captioner(workdir), list(read_captions(config, "dev"))
    caption_files = _reading_files(model)
    seconds, found = _time_each(lambda path: caption_files([path])[0], paths)
    caption_files(paths)  # Traces the batches' graphs.
    start = time.monotonic()
    caption_files(paths)
    batched_seconds = (time.monotonic() - start) / len(paths)
    filesystem.write_json(predicted_path(workdir, "imcap"), found)
    return {"seconds_per_caption": seconds, "batched_seconds_per_caption": batched_seconds}


def _reading_files(model: Captioner) -> Callable[[list[str]], list[str]]:
    """Returns what reads image files and captions them."""

    def caption(paths: list[str]) -> list[str]:
        captions = []
        answers = model.caption([filesystem.read_bytes(path) for path in paths])
        for path, answer in zip(paths, answers, strict=True):
            if isinstance(answer, Failure):
                raise RuntimeError(f"{path}: {answer.reason}")
            captions.append(answer.captions[0].caption)
        return captions

    return caption


def caption_notebook(workdir: str, config: ConfigDict) -> Figures:
    """Captions the dev images' files: `model.predict` of the encoder, then one for each word."""
    tokenizer = _unpickle(workdir, _TOKENIZER)
    model = keras.models.load_model(os.path.join(_notebook_folder(workdir), _MODEL))
    encode = encoding.build_predict(config.encoder)
    limit = config.decode.max_length

    def caption(path: str) -> str:
        return keras_notebook.generate_caption(model, tokenizer, encode(path), limit)

    seconds, found = _time_each(caption, list(read_captions(config, "dev")))
    filesystem.write_json(predicted_path(workdir, "notebook"), found)
    # There are no batches: a caption of many images takes as long as that of one.
    return {"seconds_per_caption": seconds, "batched_seconds_per_caption": seconds}


def _time_each(caption: Callable[[str], str], paths: list[str]) -> tuple[float, list[str]]:
    """Returns the mean seconds of a caption after the first, which traces, and all captions."""
    caption(paths[0])
    start = time.monotonic()
    found = [caption(path) for path in paths]
    return (time.monotonic() - start) / len(paths), found


def _marked_captions(config: ConfigDict) -> dict[str, list[str]]:
    training = read_captions(config, "train")
    return {path: keras_notebook.mark(captions) for path, captions in training.items()}


def _notebook_folder(workdir: str) -> str:
    return os.path.join(workdir, "notebook")


def _pickle(path: str, content: object) -> None:
    with open(path, "wb") as file:
        pickle.dump(content, file)


def _unpickle(workdir: str, name: str) -> Any:
    with open(os.path.join(_notebook_folder(workdir), name), "rb") as file:
        return pickle.load(file)


def _folder_size(folder: str) -> int:
    walk = os.walk(folder)
    return sum(
        os.path.getsize(os.path.join(root, name)) for root, _, names in walk for name in names
    )


# By phase and contender; each is called with WORKDIR and its resolved config.
PHASES: dict[str, dict[str, Callable[[str, ConfigDict], Figures]]] = {
    "features": {"imcap": build_records, "notebook": pickle_features},
    "train": {"imcap": train_imcap, "notebook": train_notebook},
    "caption": {"imcap": caption_imcap, "notebook": caption_notebook},
}


def measure(contender: str, phase: str, workdir: str) -> Figures:
    """Runs a phase; adds `seconds`, of the whole, and `peak_mb`, of the process so far."""
    config = config_lib.read(workdir)
    if config is None:
        raise RuntimeError(f"{workdir} holds no config.json")
    config = config_lib.resolve(config, workdir)
    start = time.monotonic()
    figures = PHASES[phase][contender](workdir, config)
    figures |= {"seconds": time.monotonic() - start, "peak_mb": common.peak_memory_mb()}
    if (contender, phase) == ("imcap", "train"):  # The notebook has no such step.
        export.export_model(config, workdir)
    return figures


def main(contender: str, phase: str, workdir: str) -> None:
    """Measures a phase and prints its figures."""
    if contender == "imcap" and phase != "caption":  # As the commands do.
        runtime.share_one_heap()
        if phase == "features":
            runtime.assume_frozen_weights()
    print(json.dumps(measure(contender, phase, workdir)))


if __name__ == "__main__":
    main(*sys.argv[1:])
