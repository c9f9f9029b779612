"""The loop over a training's steps: what follows a step, and what follows an epoch."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import NoReturn

import tensorflow as tf
from absl import logging

from imcap.decoding.predictions import Predictor
from imcap.errors import Interrupted
from imcap.training import dev_scores, strategies
from imcap.training.history import Epoch
from imcap.training.loop.divergence import DivergenceCheck
from imcap.training.loop.history_plot import HistoryPlot
from imcap.training.loop.meter import EVERY, Meter, Window
from imcap.training.loop.run import Run
from imcap.training.loop.samples import Samples
from imcap.training.loop.signals import StopNow, StopSignals
from imcap.training.loop.tensorboard import EventWriter
from imcap.training.objectives import Batch, Objective
from imcap.training.steps import StepOutput


class TrainingLoop:
    """Takes the steps of a run; writes its checkpoints, history and TensorBoard's events."""

    def __init__(
        self,
        run: Run,
        objective: Objective,
        predictor: Predictor,
        num_dev_images: int,
        summaries: EventWriter,
        samples: Samples,
    ) -> None:
        """Nothing is computed or written yet.

        Args:
          run: what is trained.
          objective: what is minimized.
          predictor: captions the dev split with the run's decoder.
          num_dev_images: how many of the split's first images are captioned, 0 for none.
          summaries: of the run.
          samples: are shown with every evaluation.
        """
        self._run, self._objective, self._predictor = run, objective, predictor
        self._num_dev_images = num_dev_images
        self._summaries, self._samples = summaries, samples
        self._meter = Meter(
            run.state,
            steps_per_epoch=run.steps_per_epoch,
            total_steps=run.total_steps,
            value=objective.SHOWN,
            show=run.is_chief,
        )
        self._divergence = DivergenceCheck(run.state, run.workdir, run.config, objective.SHOWN)
        self._signals = StopSignals()
        self._plot = HistoryPlot(run.workdir, write=run.is_chief)
        self._window = Window(run.state)
        self._previous_stop: tf.Tensor | None = None
        self._num_workers = strategies.num_workers(run.strategy)
        self._saved_at = time.monotonic()

    def train(
        self, train_step: Callable[[Batch, bool], StepOutput], batches: Iterator[Batch]
    ) -> None:
        """Takes all steps that are left, or fewer where dev scores no longer improve.

        Args:
          train_step: updates the run's state; see `steps.build_train_step`.
          batches: those after the run's first step.

        Raises:
          Interrupted: SIGTERM or Ctrl-C has come, and the state after the last step is saved.
          DivergenceError: a loss, a gradient or a weight is not finite; it was not saved.
        """
        run = self._run
        with self._signals, contextlib.closing(self._meter), contextlib.closing(self._plot):
            if run.is_epoch_open():
                self._end_epoch(run.first_step)
            for step in range(run.first_step + 1, run.total_steps + 1):
                if run.is_stalled():
                    _log_stalled(run)
                    break
                self._take_step(step, train_step, batches)

    def _take_step(
        self,
        step: int,
        train_step: Callable[[Batch, bool], StepOutput],
        batches: Iterator[Batch],
    ) -> None:
        batch = self._meter.next_batch(batches)
        output = train_step(batch, bool(self._signals.received))
        self._divergence.add(step, output)
        if step % EVERY == 0:
            self._look(step)
        self._meter.update(step, output.shown)
        if step % self._run.steps_per_epoch == 0:
            self._end_epoch(step)
        elif self._is_checkpoint_due():
            self._save_last()
        if self._is_stop_agreed(output):
            self._stop(step)

    def _look(self, step: int) -> None:
        """Checks and shows what the steps since the last time have summed up."""
        self._divergence.check_sums()
        sums, steps = self._window.read()
        values = {"gradient_norm": sums[-1] / steps, **self._objective.columns(sums)}
        self._summaries.scalars(
            step, {f"train/{name}": value for name, value in (values | self._pace()).items()}
        )

    def _pace(self) -> dict[str, float]:
        return {
            "learning_rate": float(self._run.state.optimizer.learning_rate),
            "captions_per_second": self._meter.rate(),
            "waiting_share": self._meter.waiting_share(),
        }

    def _is_stop_agreed(self, output: StepOutput) -> bool:
        """Tells whether to stop now; several workers all do so after the same step.

        They read the step before, which has ended by now: the device never waits for it.
        """
        if self._num_workers == 1:
            return bool(self._signals.received)
        before, self._previous_stop = self._previous_stop, output.stop
        return before is not None and float(before) > 0

    def _stop(self, step: int) -> NoReturn:
        self._save_last()
        signal = self._signals.received or "a signal to another worker"
        raise Interrupted(
            f"stopped by {signal} after step {step} of {self._run.total_steps}, which is saved: "
            "the same command continues"
        )

    def _end_epoch(self, step: int) -> None:
        row = self._training_columns(step) | self._score_dev(step)
        self._run.state.sums.assign(tf.zeros_like(self._run.state.sums))
        self._window.restart()
        self._run.history.append(row, write=self._run.is_chief)
        self._summaries.scalars(step, row)
        self._summaries.flush()
        self._show_epoch(row)
        self._save_epoch(step // self._run.steps_per_epoch)
        self._meter.restart()

    def _training_columns(self, step: int) -> Epoch:
        """Returns the columns of what the epoch's steps have summed up."""
        sums = self._divergence.check_sums()
        columns = self._objective.columns(sums)
        return {
            "epoch": step // self._run.steps_per_epoch,
            "step": step,
            **{name: float(value) for name, value in columns.items()},
            **self._pace(),
            "gradient_norm": float(sums[-1]) / self._run.steps_per_epoch,
        }

    def _score_dev(self, step: int) -> Epoch:
        """Returns the dev columns, none where this epoch is not scored."""
        run, epoch = self._run, step // self._run.steps_per_epoch
        if not self._num_dev_images or not dev_scores.is_scored(epoch, run.config):
            return {}
        with self._stop_within(step):
            return dev_scores.evaluate(
                self._predictor, run.strategy, self._summaries, step, self._num_dev_images,
                self._samples.show,
            )  # fmt: skip

    @contextlib.contextmanager
    def _stop_within(self, step: int) -> Iterator[None]:
        """Lets a signal end an evaluation, which a continued run repeats.

        Several workers finish it: each waits for the others' parts.
        """
        if self._num_workers > 1:
            yield
            return
        try:
            with self._signals.interruptible():
                yield
        except StopNow:
            self._stop(step)

    def _show_epoch(self, row: Epoch) -> None:
        self._plot.update()
        if row["step"] == self._run.total_steps:
            self._plot.close()  # Before the save after which a continued run has nothing to do.
        if self._run.is_chief:
            logging.info("%s", _format_epoch(row))

    def _save_epoch(self, epoch: int) -> None:
        self._divergence.check_weights()
        if self._run.history.is_best(self._run.best_column):
            self._run.saved.save_best()
        self._run.saved.save_epoch(epoch)
        self._save_last()  # After the others: a training that was killed repeats them.

    def _save_last(self) -> None:
        self._divergence.check_weights()
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
