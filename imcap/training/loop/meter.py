"""The progress bar of a training: steps, epoch, loss or reward, and captions per second."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from imcap import progress
from imcap.training.objectives import Batch
from imcap.training.steps import TrainState

EVERY = 20  # Steps between readings of values: each of them waits for the device.


class Window:
    """The steps between two readings of a state's sums."""

    def __init__(self, state: TrainState) -> None:
        """Begins at the state's step."""
        self._state = state
        self._begin(state.sums.numpy(), int(state.step.numpy()))

    def read(self) -> tuple[np.ndarray, int]:
        """Returns the sums of the steps since the last reading, float32 [n], and their number."""
        sums, step = self._state.sums.numpy(), int(self._state.step.numpy())
        found = sums - self._sums, step - self._step
        self._begin(sums, step)
        return found

    def restart(self) -> None:
        """Begins anew: the state's sums were set to zero."""
        self._begin(np.zeros_like(self._sums), int(self._state.step.numpy()))

    def _begin(self, sums: np.ndarray, step: int) -> None:
        self._sums, self._step = sums, step


class Meter:
    """A progress bar over the steps, and the rate and the waiting within the present epoch."""

    def __init__(
        self,
        state: TrainState,
        *,
        steps_per_epoch: int,
        total_steps: int,
        value: str = "loss",
        show: bool,
    ) -> None:
        """Begins at the state's step.

        Args:
          state: of the training.
          steps_per_epoch: an epoch's steps.
          total_steps: of the training.
          value: what is shown of each step beside the rate.
          show: whether this process shows the bar.
        """
        self._state, self._steps_per_epoch, self._value = state, steps_per_epoch, value
        step = int(state.step.numpy())
        self._first_step = step + 1
        self.restart()
        self._bar = progress.bar("train", "step", total_steps, initial=step, disable=not show)

    def update(self, step: int, value: tf.Tensor) -> None:
        """Counts a step; `value`: float32 scalar, of that step."""
        if step % EVERY == 0:
            epoch = (step - 1) // self._steps_per_epoch + 1
            self._bar.set_postfix(
                {
                    "epoch": epoch,
                    self._value: f"{float(value):.3f}",
                    "captions_s": f"{self.rate():.0f}",
                },
                refresh=False,
            )
        self._bar.update()
        # The rate leaves out the first step of the process, which traces the graph, unless no step
        # of the epoch would be left.
        if step == self._first_step and step % self._steps_per_epoch:
            self.restart()

    def next_batch(self, batches: Iterator[Batch]) -> Batch:
        """Returns the next batch, and counts the time until it is there."""
        asked = time.monotonic()
        batch = next(batches)
        self._waited += time.monotonic() - asked
        return batch

    def waiting_share(self) -> float:
        """Returns which share of the time that `rate` is of was spent waiting for batches."""
        return self._waited / max(time.monotonic() - self._start, 1e-9)

    def rate(self) -> float:
        """Returns the captions per second since the epoch began, or the process in its midst."""
        captions = float(self._state.sums.numpy()[2] - self._captions)
        return captions / max(time.monotonic() - self._start, 1e-9)

    def restart(self) -> None:
        """Begins an epoch: the state's sums were set to zero, and time was spent on dev."""
        self._start, self._waited = time.monotonic(), 0.0
        self._captions = self._state.sums.numpy()[2]

    def close(self) -> None:
        """Leaves the bar as it is."""
        self._bar.close()
