"""Weights that stay after an epoch, `WORKDIR/checkpoints/epoch-7/`: there whole or not at all."""

from __future__ import annotations

import os
import re
import shutil

import tensorflow as tf
from absl import logging

from imcap import config as config_lib
from imcap import filesystem

ALL = "all"
_FOLDER = re.compile(r"epoch-([1-9]\d*)")
_UNFINISHED = re.compile(rf"{re.escape(filesystem.TEMPORARY)}[0-9a-f]+-epoch-\d+")
_PREFIX = "weights"  # Of a checkpoint's files; its index is what tells that it is there.


def name(epoch: int) -> str:
    """Returns the name of an epoch's folder."""
    return f"epoch-{epoch}"


def path(workdir: str, epoch: int) -> str:
    """Returns the path of an epoch's checkpoint, whether it was kept or not."""
    return path_in(os.path.join(workdir, config_lib.CHECKPOINTS, name(epoch)))


def path_in(folder: str) -> str:
    """Returns the path of the checkpoint in an epoch's folder, whether it is there or not."""
    return os.path.join(folder, _PREFIX)


def kept(workdir: str) -> list[int]:
    """Returns the epochs whose weights are there, in ascending order."""
    folder = os.path.join(workdir, config_lib.CHECKPOINTS)
    epochs = _numbers(folder) if os.path.isdir(folder) else []
    return [epoch for epoch in epochs if os.path.exists(f"{path(workdir, epoch)}.index")]


def _numbers(folder: str) -> list[int]:
    """Returns the numbers of the epochs that have a folder, complete or not."""
    found = map(_FOLDER.fullmatch, os.listdir(folder))
    return sorted(int(match[1]) for match in found if match)


class EpochCheckpoints:
    """Keeps the weights of all epochs, of the last ones, or of none."""

    def __init__(self, workdir: str, checkpoint: tf.train.Checkpoint, keep: str) -> None:
        """Nothing is written yet.

        Args:
          workdir: the run's folder.
          checkpoint: what is written.
          keep: `train.keep_checkpoints`.
        """
        self._workdir, self._checkpoint, self._keep = workdir, checkpoint, keep

    def log_disk_use(self, epochs: int, weights_bytes: int) -> None:
        """Logs how much disk a training of so many epochs takes for the weights that it keeps."""
        if not self._keep:
            return
        count = epochs if self._keep == ALL else min(int(self._keep), epochs)
        megabytes = weights_bytes / 1e6
        logging.info(
            "keeps the weights of %s epochs in %s: %d x %.1f MB = %.0f MB",
            "all" if self._keep == ALL else f"the last {count}",
            os.path.join(self._workdir, config_lib.CHECKPOINTS),
            count, megabytes, count * megabytes,
        )  # fmt: skip

    def save(self, epoch: int) -> None:
        """Writes an epoch's weights; removes those that are to stay no longer after that."""
        if not self._keep:
            return
        folder = os.path.dirname(path(self._workdir, epoch))
        with filesystem.writing_to(folder), filesystem.replacing(folder) as temporary:
            os.makedirs(temporary)
            self._checkpoint.write(os.path.join(temporary, _PREFIX))
            # A training that was killed after it had written this epoch repeats it.
            _remove(self._workdir, epoch)
        self._remove_old(epoch)

    def _remove_old(self, epoch: int) -> None:
        folder = os.path.join(self._workdir, config_lib.CHECKPOINTS)
        for unfinished in filter(_UNFINISHED.fullmatch, os.listdir(folder)):
            shutil.rmtree(os.path.join(folder, unfinished))
        if self._keep != ALL:
            for old in _numbers(folder):
                if old <= epoch - int(self._keep):
                    _remove(self._workdir, old)


def _remove(workdir: str, epoch: int) -> None:
    """Removes an epoch's folder, its index first: what is left after a kill does not count."""
    checkpoint = path(workdir, epoch)
    if os.path.exists(f"{checkpoint}.index"):
        os.remove(f"{checkpoint}.index")
    if os.path.isdir(os.path.dirname(checkpoint)):
        shutil.rmtree(os.path.dirname(checkpoint))
