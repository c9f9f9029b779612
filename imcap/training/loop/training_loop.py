"""The loop over a training's steps: what follows a step, and what follows an epoch."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

import tensorflow as tf
from absl import logging

from imcap import records
from imcap.decoding.predictions import Predictor
from imcap.reports import plots
from imcap.training import dev_scores
from imcap.training.history import Epoch
from imcap.training.loop.meter import Meter
from imcap.training.loop.run import Run
from imcap.training.loop.tensorboard import EventWriter
from imcap.training.objectives import Batch, Objective


class TrainingLoop:
    """Takes the steps of a run; writes its checkpoints, history and TensorBoard's events."""

    def __init__(
        self, run: Run, objective: Objective, predictor: Predictor, info: records.Info
    ) -> None:
        """Nothing is computed or written yet.

        Args:
          run: what is trained.
          objective: what is minimized.
          predictor: captions the dev split with the run's decoder.
          info: of the records.
        """
        self._run, self._objective, self._predictor = run, objective, predictor
        self._num_dev_images = dev_scores.count_images(run.config, info)
        self._summaries = EventWriter(run.workdir, write=run.is_chief)
        self._meter = Meter(
            run.state,
            steps_per_epoch=run.steps_per_epoch,
            total_steps=run.total_steps,
            value=objective.SHOWN,
            show=run.is_chief,
        )
        self._saved_at = time.monotonic()

    def train(self, train_step: Callable[[Batch], tf.Tensor], batches: Iterator[Batch]) -> None:
        """Takes all steps that are left, or fewer where dev scores no longer improve.

        Args:
          train_step: updates the run's state; see `steps.build_train_step`.
          batches: those after the run's first step.
        """
        run = self._run
        for step in range(run.first_step + 1, run.total_steps + 1):
            self._meter.update(step, train_step(next(batches)))
            if step % run.steps_per_epoch == 0:
                self._end_epoch(step)
                if run.is_stalled():
                    _log_stalled(run)
                    break
            elif self._is_checkpoint_due():
                self._save_last()
        self._meter.close()

    def _end_epoch(self, step: int) -> None:
        row = self._training_columns(step)
        self._run.state.sums.assign(tf.zeros_like(self._run.state.sums))
        row |= self._score_dev(step)
        self._run.history.append(row, write=self._run.is_chief)
        self._summaries.scalars(step, row)
        self._show_epoch(row)
        self._save_epoch(step // self._run.steps_per_epoch)

    def _training_columns(self, step: int) -> Epoch:
        """Returns the columns of what the epoch's steps have summed up."""
        state = self._run.state
        columns = self._objective.columns(state.sums.numpy())
        return {
            "epoch": step // self._run.steps_per_epoch,
            "step": step,
            **{name: float(value) for name, value in columns.items()},
            "learning_rate": float(state.optimizer.learning_rate),
            "captions_per_second": self._meter.rate(),
        }

    def _score_dev(self, step: int) -> Epoch:
        """Returns the dev columns, none where this epoch is not scored."""
        run, epoch = self._run, step // self._run.steps_per_epoch
        if not self._num_dev_images or not dev_scores.is_scored(epoch, run.config):
            return {}
        return dev_scores.evaluate(
            self._predictor, run.strategy, self._summaries, step, self._num_dev_images
        )

    def _show_epoch(self, row: Epoch) -> None:
        if self._run.is_chief:
            history_png = os.path.join(self._run.workdir, "history.png")
            plots.draw_history(self._run.history.path, history_png)
            logging.info("%s", _format_epoch(row))

    def _save_epoch(self, epoch: int) -> None:
        if self._run.history.is_best(self._run.best_column):
            self._run.saved.save_best()
        self._run.saved.save_epoch(epoch)
        self._save_last()  # After the others: a training that was killed repeats them.

    def _save_last(self) -> None:
        self._run.saved.save_last()
        self._saved_at = time.monotonic()

    def _is_checkpoint_due(self) -> bool:
        return time.monotonic() - self._saved_at > 60 * self._run.config.checkpoint_minutes


def _log_stalled(run: Run) -> None:
    logging.info("no better %s for %d evaluations", run.best_column, run.config.patience)


def _format_epoch(epoch: Epoch) -> str:
    return " ".join(
        f"{key}={value}" if isinstance(value, int) else f"{key}={value:.4g}"
        for key, value in epoch.items()
    )
