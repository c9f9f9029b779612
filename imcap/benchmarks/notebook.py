"""`imcap bench notebook`: imcap beside the captioner that notebooks build on Keras.

Both take the same images, captions and encoder (one vector per image), a decoder of the same sizes,
the same batches of images, the same number of epochs, and greedy captions. Each phase runs in a
process of its own; imcap and the notebook take turns, and rows are medians.
"""

from __future__ import annotations

import collections
import csv
import os
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from ml_collections import ConfigDict

from imcap import config as config_lib
from imcap import datasets, filesystem, text
from imcap.benchmarks import common
from imcap.benchmarks.peers import notebook_phases
from imcap.benchmarks.peers.notebook_phases import Figures
from imcap.errors import UserError
from imcap.metrics.scores import build_optional_scorers, score_captions

CONTENDERS = ("imcap", "notebook")
_SPLITS = ("train", "dev")


class _Figure(NamedTuple):
    """A figure of both contenders: its row's name and unit, its key, and the ratio wanted."""

    name: str
    unit: str
    key: str
    at_least: float | None = None
    at_most: float | None = None


# The ratio is imcap's figure divided by the notebook's.
_FIGURES = (
    _Figure("time to features", "s", "features_seconds", at_most=0.5),
    _Figure("features on disk", "bytes/image", "features_bytes", at_most=1.0),
    _Figure("features, peak memory", "MB", "features_peak_mb"),
    _Figure("training rate", "captions/s", "train_captions_per_second", at_least=5.0),
    _Figure("training, start to end", "s", "train_seconds", at_most=0.5),
    _Figure("training, peak memory", "MB", "train_peak_mb", at_most=1.0),
    _Figure("caption of one image", "s", "caption_seconds_per_caption", at_most=0.5),
    _Figure("caption of many images", "s", "caption_batched_seconds_per_caption", at_most=0.5),
    _Figure("captions, peak memory", "MB", "caption_peak_mb"),
    _Figure("BLEU-1", "", "bleu1"),
    _Figure("BLEU-2", "", "bleu2"),
    _Figure("BLEU-4", "", "bleu4", at_least=1.0),
    _Figure("CIDEr-D", "", "cider", at_least=1.0),
    _Figure("BLEU-1 with markers", "", "bleu1_markers"),
    _Figure("BLEU-2 with markers", "", "bleu2_markers"),
)


def benchmark_notebook(
    config: ConfigDict,
    num_images: int,
    repeats: int,
    run: Callable[..., Figures] = common.run_module,
) -> list[common.Row]:
    """Measures the way from images to captions of both contenders.

    Args:
      config: not resolved; its data set, encoder, decoder, batch size, epochs and optimizer are
        taken, and the rest is set to what a notebook does. The notebook's decoder is always the
        merge architecture, of the sizes `model.units` and `model.embedding_size`.
      num_images: the first images of the splits train and dev that are used, of each.
      repeats: runs of each phase.
      run: called with `imcap.benchmarks.peers.notebook_phases`, contender, phase and workdir.

    Raises:
      UserError: a number is below 1, a setting has a bad value, or the data set cannot be read or
        lacks a split.
    """
    if num_images < 1 or repeats < 1:
        raise UserError("--num_images and --repeats must be at least 1")
    runs: dict[str, list[Figures]] = {name: [] for name in CONTENDERS}
    with tempfile.TemporaryDirectory() as folder:
        data = write_data_set(config, num_images, folder)
        for number in range(repeats):
            workdir = os.path.join(folder, str(number))
            resolved = config_lib.resolve(_comparable(config, data), workdir)
            config_lib.save(resolved, workdir)
            for name, figures in _run_phases(run, workdir).items():
                figures["features_bytes"] /= _count_images(resolved)
                scores = _score(resolved, notebook_phases.predicted_path(workdir, name))
                runs[name].append({**figures, **scores})
    return compare(runs)


def write_data_set(config: ConfigDict, num_images: int, folder: str) -> str:
    """Writes a table of the data set's first images of train and dev; returns its folder.

    A data set that is drawn is drawn first; `{workdir}` in its settings stands for `folder`.

    Raises:
      UserError: the data set cannot be read, its images are remote, or it lacks a split.
    """
    reader = datasets.build_reader(config_lib.resolve(config, folder).dataset)
    kept: dict[str, list[datasets.CaptionedImage]] = collections.defaultdict(list)
    for image in reader.read(datasets.Problems()):
        if image.split in _SPLITS and len(kept[image.split]) < num_images:
            kept[image.split].append(image)
    for split in _SPLITS:
        if not kept[split]:
            raise UserError(f"imcap bench notebook needs a data set with the split {split}")
    data = os.path.join(folder, "data")
    os.makedirs(data)
    with open(os.path.join(data, notebook_phases.TABLE), "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "split", "caption"])
        for image in (image for split in _SPLITS for image in kept[split]):
            if filesystem.is_remote(image.path):
                raise UserError(f"{image.path}: imcap bench notebook reads local images only")
            path = os.path.abspath(image.path)
            writer.writerows([path, image.split, caption] for caption in image.captions)
    return data


def _comparable(config: ConfigDict, data: str) -> ConfigDict:
    """Returns the config of imcap's side: what a notebook has not is off, or as it has it."""
    config = ConfigDict(config.to_dict())
    config.dataset = config_lib.dataset_defaults()
    config.update_from_flattened_dict(
        {
            "dataset.name": "table",
            "dataset.dir": data,
            "dataset.columns.split": "split",
            "encoder.pooling": "avg",
            "records.dir": "",
            "records.flip": False,
            "records.limit": 0,
            "text.min_count": 1,  # Keras' Tokenizer keeps every word.
            "model.word_vectors": "",
            "model.train_word_vectors": True,
            "train.eval_every": config.train.epochs,
            "train.patience": 0,
            "decode.beam_size": 1,
            "decode.no_repeat_ngram": 0,
            "eval.markers": True,
            "eval.similarity_encoder": "",
        }
    )
    return config.lock()


def _run_phases(run: Callable[..., Figures], workdir: str) -> dict[str, Figures]:
    """Runs each phase of both contenders; returns their figures, `PHASE_` before each key."""
    found: dict[str, Figures] = {name: {} for name in CONTENDERS}
    for phase in notebook_phases.PHASES:
        for name in CONTENDERS:
            figures = run("imcap.benchmarks.peers.notebook_phases", name, phase, workdir)
            found[name] |= {f"{phase}_{key}": value for key, value in figures.items()}
    return found


def _count_images(config: ConfigDict) -> int:
    return sum(len(notebook_phases.read_captions(config, split)) for split in _SPLITS)


def _score(config: ConfigDict, path: str) -> Mapping[str, float]:
    """Returns the scores of the dev images' captions in a file, in the table's order."""
    predicted = filesystem.read_json(path) or []
    references = {
        path: [caption for caption in text.standardize_all(captions) if caption]
        for path, captions in notebook_phases.read_captions(config, "dev").items()
    }
    hypotheses = dict(zip(references, text.standardize_all(predicted), strict=True))
    return score_captions(
        {path: captions for path, captions in references.items() if captions},
        {path: hypotheses[path] for path, captions in references.items() if captions},
        build_optional_scorers(config.eval),
    ).corpus


def compare(runs: Mapping[str, Sequence[Mapping[str, float]]]) -> list[common.Row]:
    """Returns two rows of each figure; imcap's has the ratio, a median of the runs' ratios.

    Args:
      runs: for each of CONTENDERS, the figures of each run.
    """
    rows = []
    for name, unit, key, at_least, at_most in _FIGURES:
        ours, theirs = ([run[key] for run in runs[contender]] for contender in CONTENDERS)
        ratios = [a / b for a, b in zip(ours, theirs, strict=True) if b]
        ratio = statistics.median(ratios) if ratios else None
        value = statistics.median(ours)
        rows += [
            common.Row(f"{name}: imcap", value, unit, ratio, at_least, at_most),
            common.Row(f"{name}: notebook", statistics.median(theirs), unit),
        ]
    return rows
