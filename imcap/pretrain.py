"""Teaches imcap's own CNN to see what captions speak of, for data without pretrained weights.

The targets are the captions' frequent words ("visual words"; Fang et al., 2015): an image has a
word if one of its captions does. Each position of the feature map votes for each word, and the
strongest vote counts, so that the features stay local.
"""

from __future__ import annotations

import collections
import os
import shutil
import sys
import warnings
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from imcap import datasets, encoders, filesystem, images, records, text
from imcap.datasets import CaptionedImage
from imcap.errors import UserError

WEIGHTS = "encoder.weights.h5"
_BACKUPS = "pretrain_backup"


def pretrain_encoder(config: ConfigDict, workdir: str) -> str:
    """Trains `custom_cnn` on the training photos; continues if it was interrupted.

    Returns:
      The path of the weights, for `config.encoder.weights`.

    Raises:
      UserError: the config names another encoder, there is no training photo that can be read,
        or an interrupted run was of another network.
    """
    if config.encoder.name not in encoders.ENCODERS:
        raise UserError(
            f"imcap pretrain is for config.encoder.name={' or '.join(encoders.ENCODERS)}, "
            f"not {config.encoder.name}"
        )
    path = os.path.join(workdir, WEIGHTS)
    if os.path.exists(path):
        return path
    problems = datasets.Problems()
    reader = datasets.build_reader(config.dataset)
    rows = [row for row in reader.read(problems) if row.split == "train"]
    if not rows:
        raise UserError(f"config.dataset.dir={config.dataset.dir} holds no training photo")
    keras.utils.set_random_seed(config.seed)
    words, targets = visual_words(rows, config.encoder.pretrain.words)
    network = encoders.ENCODERS.load(config.encoder.name)(config.encoder)
    _fit(_classifier(network, len(words)), rows, targets, config, workdir)
    _save(network, path)
    shutil.rmtree(os.path.join(workdir, _BACKUPS), ignore_errors=True)
    return path


def visual_words(rows: Sequence[CaptionedImage], count: int) -> tuple[list[str], np.ndarray]:
    """Returns the words that tell images apart best, and which image has which.

    Args:
      rows: captioned images.
      count: words at most.

    Returns:
      The words, and float32 [images, words] of 0 and 1. Words of nearly every image or of nearly
      none teach nothing: they are chosen by p * (1 - p), p being the share of images with them.
    """
    captions = text.standardize_all([" . ".join(row.captions) for row in rows])
    bags = [set(caption.split()) for caption in captions]
    shares = collections.Counter(word for bag in bags for word in bag)
    total = len(rows)
    ranked = sorted(shares, key=lambda word: (-shares[word] * (total - shares[word]), word))
    words = ranked[:count]
    targets = np.array([[word in bag for word in words] for bag in bags], np.float32)
    return words, targets


def _classifier(network: keras.Model, num_words: int) -> keras.Model:
    votes = keras.layers.Conv2D(num_words, 1, name="votes")(network.output)
    return keras.Model(network.input, keras.layers.GlobalMaxPooling2D()(votes))


def _fit(
    classifier: keras.Model,
    rows: Sequence[CaptionedImage],
    targets: np.ndarray,
    config: ConfigDict,
    workdir: str,
) -> None:
    settings = config.encoder.pretrain
    batch_size = min(settings.batch_size, len(rows))
    steps = len(rows) // batch_size * settings.epochs
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, max(steps * 9 // 10, 1), warmup_target=settings.learning_rate, warmup_steps=steps // 10
    )
    classifier.compile(
        keras.optimizers.Adam(schedule), keras.losses.BinaryCrossentropy(from_logits=True)
    )
    backups = os.path.join(workdir, _BACKUPS)
    done = _restore(classifier, backups)
    with warnings.catch_warnings():
        # How many photos can be read shows itself at the end of an epoch.
        warnings.filterwarnings("ignore", "Your input ran out of data")
        history = classifier.fit(
            _dataset(rows, targets, config, batch_size),
            epochs=settings.epochs,
            initial_epoch=done,
            callbacks=[_Backup(backups)],
            shuffle=False,
            verbose=1 if sys.stdout.isatty() else 2,
        )
    if done < settings.epochs and "loss" not in history.history:
        shutil.rmtree(backups, ignore_errors=True)
        raise UserError(
            f"config.dataset.dir={config.dataset.dir} holds fewer than {batch_size} training "
            "photos that can be read: `imcap records` gives the reasons"
        )


class _Backup(keras.callbacks.Callback):
    """Saves weights and optimizer after every epoch, as FOLDER/EPOCHS.weights.h5."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self._folder = folder

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        os.makedirs(self._folder, exist_ok=True)
        before, now = (os.path.join(self._folder, f"{n}.weights.h5") for n in (epoch, epoch + 1))
        _save(self.model, now)
        if os.path.exists(before):
            os.remove(before)


def _restore(classifier: keras.Model, folder: str) -> int:
    """Loads the last backup, if there is one; returns the number of epochs behind it."""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    epochs = max((int(name.split(".")[0]) for name in names if name[0].isdigit()), default=0)
    if epochs:
        path = os.path.join(folder, f"{epochs}.weights.h5")
        classifier.optimizer.build(classifier.trainable_variables)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # One for every layer that does not fit.
                classifier.load_weights(path)
        except ValueError as error:
            raise UserError(f"{path} is of another network: remove {folder}") from error
    return epochs


def _save(network: keras.Model, path: str) -> None:
    """Writes a weights file whole or not at all."""
    with filesystem.replacing(path) as temporary:
        network.save_weights(temporary)


def _dataset(
    rows: Sequence[CaptionedImage], targets: np.ndarray, config: ConfigDict, batch_size: int
) -> tf.data.Dataset:
    size, max_pixels = config.encoder.image_size, config.encoder.max_pixels

    def load(path: tf.Tensor, target: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return images.load(tf.io.read_file(path), size, max_pixels), target

    paths = [row.path.encode("utf-8", "surrogateescape") for row in rows]
    dataset = tf.data.Dataset.from_tensor_slices((paths, targets))
    dataset = dataset.shuffle(len(rows), seed=config.seed, reshuffle_each_iteration=True)
    dataset = dataset.map(load, num_parallel_calls=os.cpu_count(), deterministic=True)
    # A bad photo is reported by `imcap records`; here it is left out.
    dataset = dataset.ignore_errors().batch(batch_size, drop_remainder=True)
    return dataset.prefetch(2).with_options(records.NO_AUTOTUNE)
