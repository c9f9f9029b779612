"""Trains one of imcap's own networks to predict the words of captions, without pretrained weights.

The targets are frequent words of the captions ("visual words"; Fang et al., From Captions to Visual
Concepts and Back, 2015): an image has a word if one of its captions does. Each position of the
feature map scores each word, and the highest score counts, so that the features stay local.
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
from absl import logging
from ml_collections import ConfigDict

from imcap import config as config_lib
from imcap import datasets, encoders, filesystem, images, records, text
from imcap.datasets import CaptionedImage
from imcap.errors import UserError, one_line

WEIGHTS = "encoder.weights.h5"
_CHECKPOINTS = "pretrain_checkpoints"
_UNREAD_PARTS = ("records", "text", "model", "train")  # Pretraining does not read them.
_LOGGED = 5  # Unreadable images that are logged with their reason.
_SMALLEST_CROP = 0.6  # Of an image's side.


def pretrain_encoder(config: ConfigDict, workdir: str) -> str:
    """Trains one of imcap's own networks on the training images; continues an interrupted run.

    Returns:
      The path of the weights, for `config.encoder.weights`.

    Raises:
      UserError: the config names another encoder, no training image can be read, TensorFlow does
        not read the data set's folder, or the interrupted or finished run was of another network.
    """
    _check_name(config.encoder.name)
    path = os.path.join(workdir, WEIGHTS)
    config_lib.check_run(config, workdir)
    if os.path.exists(path):
        config_lib.check_run(config, workdir, trained=WEIGHTS, free=_UNREAD_PARTS)
        logging.info("%s: pretrained already", path)
        return path
    settings = config.encoder.pretrain
    _check_folder(config.dataset.dir)
    captioned = _readable_images(config.dataset, config.encoder.max_pixels)
    if not captioned:
        raise UserError(f"config.dataset.dir={config.dataset.dir} holds no readable training image")
    keras.utils.set_random_seed(config.seed)
    config_lib.save(config, workdir)
    words, targets = visual_words(captioned, settings.words)
    network = encoders.ENCODERS.load(config.encoder.name)(config.encoder)
    batch_size = min(settings.batch_size, len(captioned))
    classifier = _classifier(network, len(words))
    _compile(classifier, settings.learning_rate, len(captioned) // batch_size * settings.epochs)
    dataset = _dataset(captioned, targets, config.encoder, batch_size, config.seed)
    _fit(classifier, dataset, settings.epochs, os.path.join(workdir, _CHECKPOINTS))
    _save(network, path)
    shutil.rmtree(os.path.join(workdir, _CHECKPOINTS), ignore_errors=True)
    return path


def _check_name(name: str) -> None:
    if name not in encoders.ENCODERS:
        raise UserError(
            f"imcap pretrain is for config.encoder.name={' or '.join(encoders.ENCODERS)}, "
            f"not {name}"
        )


def _check_folder(folder: str) -> None:
    scheme = folder.rpartition("://")[0]
    if scheme not in tf.io.gfile.get_registered_schemes():
        raise UserError(
            f"config.dataset.dir={folder}: imcap pretrain does not read images from {scheme}://: "
            "copy the data set to this machine"
        )


def _readable_images(config: ConfigDict, max_pixels: int) -> list[CaptionedImage]:
    """Returns the training images of a data set that can be decoded; logs the others.

    Args:
      config: a config's `dataset` part.
      max_pixels: images that declare more are refused.
    """
    found = datasets.build_reader(config).read(datasets.Problems())
    captioned = [image for image in found if image.split == "train"]
    if not captioned:
        return []
    if filesystem.embedded_length(captioned[0].path) is not None:
        raise UserError(
            f"config.dataset.name={config.name}: imcap pretrain reads image files only, not images "
            "within other files: unpack them"
        )

    @tf.autograph.experimental.do_not_convert
    def check(index: tf.Tensor, path: tf.Tensor) -> tf.Tensor:
        with tf.control_dependencies([images.decode(tf.io.read_file(path), max_pixels)]):
            return tf.identity(index)

    dataset = tf.data.Dataset.from_tensor_slices((np.arange(len(captioned)), _paths(captioned)))
    dataset = dataset.map(check, num_parallel_calls=os.cpu_count()).ignore_errors()
    readable = {int(index) for index in dataset.with_options(records.NO_AUTOTUNE)}
    unreadable = [image for index, image in enumerate(captioned) if index not in readable]
    if unreadable:
        logging.warning("%d of %d training images are left out", len(unreadable), len(captioned))
    for image in unreadable[:_LOGGED]:
        logging.warning("%s: %s", image.path, _reason(image.path, max_pixels))
    return [captioned[index] for index in sorted(readable)]


def _reason(path: str, max_pixels: int) -> str:
    try:
        images.decode(tf.io.read_file(os.fsencode(path)), max_pixels)
    except tf.errors.OpError as error:
        return one_line(error)
    return "cannot be read"  # It could be read this time.


def visual_words(captioned: Sequence[CaptionedImage], count: int) -> tuple[list[str], np.ndarray]:
    """Returns the words that distinguish images best, and which image has which.

    Args:
      captioned: the images with their captions.
      count: words at most.

    Returns:
      The words, and float32 [images, words] of 0 and 1. The words are those of the largest
      variance p * (1 - p), p being the share of images that have the word.
    """
    captions = text.standardize_all([" ".join(image.captions) for image in captioned])
    bags = [set(caption.split()) for caption in captions]
    counts = collections.Counter(word for bag in bags for word in bag)
    total = len(captioned)
    ranked = sorted(counts, key=lambda word: (-counts[word] * (total - counts[word]), word))
    words = ranked[:count]
    targets = np.array([[word in bag for word in words] for bag in bags], np.float32)
    return words, targets


def _classifier(network: keras.Model, num_words: int) -> keras.Model:
    scores = keras.layers.Conv2D(num_words, 1, name="scores")(network.output)
    return keras.Model(network.input, keras.layers.GlobalMaxPooling2D()(scores))


def _compile(classifier: keras.Model, learning_rate: float, steps: int) -> None:
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, max(steps * 9 // 10, 1), warmup_target=learning_rate, warmup_steps=steps // 10
    )
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    classifier.compile(keras.optimizers.Adam(schedule), loss)


def _fit(classifier: keras.Model, dataset: tf.data.Dataset, epochs: int, folder: str) -> None:
    done = _restore(classifier, folder)
    if done:
        logging.info("continues after epoch %d of %d, from %s", done, epochs, folder)
    classifier.fit(
        dataset,
        epochs=epochs,
        initial_epoch=done,
        callbacks=[_SaveCheckpoint(folder)],
        shuffle=False,
        verbose=1 if sys.stdout.isatty() else 2,
    )


class _SaveCheckpoint(keras.callbacks.Callback):
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
    """Loads the last checkpoint, if there is one; returns the epochs it was trained for."""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    epochs = max((int(name.split(".")[0]) for name in names if name[0].isdigit()), default=0)
    if epochs:
        path = os.path.join(folder, f"{epochs}.weights.h5")
        classifier.optimizer.build(classifier.trainable_variables)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Keras warns of each layer that does not fit.
                classifier.load_weights(path)
        except ValueError as error:
            raise UserError(f"{path} is of another network: remove {folder}") from error
    return epochs


def _save(network: keras.Model, path: str) -> None:
    """Writes a weights file whole or not at all; raises UserError if it cannot be written."""
    with filesystem.writing_to(path), filesystem.replacing(path) as temporary:
        network.save_weights(temporary)


def _paths(captioned: Sequence[CaptionedImage]) -> list[bytes]:
    return [os.fsencode(image.path) for image in captioned]


def _dataset(
    captioned: Sequence[CaptionedImage],
    targets: np.ndarray,
    config: ConfigDict,
    batch_size: int,
    seed: int,
) -> tf.data.Dataset:
    """Returns batches of images and targets, in another order in each epoch.

    `config`: a config's `encoder` part: `image_size`, `max_pixels` and `pretrain.augment`.
    """

    @tf.autograph.experimental.do_not_convert
    def load(
        example: tuple[tf.Tensor, tf.Tensor], number: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        path, target = example
        image = images.load(tf.io.read_file(path), config.image_size, config.max_pixels)
        return augment(image, number) if config.pretrain.augment else image, target

    dataset = tf.data.Dataset.from_tensor_slices((_paths(captioned), targets))
    dataset = dataset.shuffle(len(captioned), seed=seed, reshuffle_each_iteration=True)
    numbers = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True)
    dataset = tf.data.Dataset.zip(dataset, numbers)
    dataset = dataset.map(load, num_parallel_calls=os.cpu_count(), deterministic=True)
    dataset = dataset.batch(batch_size, drop_remainder=True)
    return dataset.prefetch(2).with_options(records.NO_AUTOTUNE)


def augment(image: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
    """Flips an image by chance and crops it to 0.6 to 1 times its side.

    Args:
      image: float32 [side, side, 3].
      number: int64 []; decides the flip and the crop.

    Returns:
      float32 [side, side, 3].
    """
    side = image.shape[0]
    seeds = tf.unstack(tf.random.experimental.stateless_split(tf.stack([number, 0]), 3))
    image = tf.image.stateless_random_flip_left_right(image, seeds[0])
    scale = tf.random.stateless_uniform([], seeds[1], _SMALLEST_CROP, 1.0)
    cropped = tf.cast(tf.round(scale * side), tf.int32)
    image = tf.image.stateless_random_crop(image, [cropped, cropped, 3], seeds[2])
    return tf.ensure_shape(tf.image.resize(image, (side, side)), (side, side, 3))
