"""The rows of `imcap bench train` on what `imcap train` does besides its compiled steps.

Beside a step: the check for values that are not finite, the progress bar, the scalars for
TensorBoard. An epoch's end, with the scoring of dev, is not measured.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import time
from collections.abc import Callable, Iterator, Sequence

from imcap.benchmarks import common
from imcap.training.loop.meter import EVERY
from imcap.training.loop.run import Run
from imcap.training.loop.training_loop import TrainingLoop
from imcap.training.objectives import Batch
from imcap.training.steps import StepOutput

# Measured after as many others; in the last one values are read and written.
_STEPS = EVERY
_ENDLESS = 1_000_000  # Steps of an epoch.


class _StepsTaken(Exception):
    """Ends a loop that would go on."""


class _Stopwatch:
    """Gives a loop its batches and its step, and measures the time outside of the step."""

    def __init__(self, step: Callable[[Batch, bool], StepOutput], batches: Sequence[Batch]) -> None:
        self._step, self._batches = step, batches
        self._began = self._ended = 0.0
        self._within: list[float] = []

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        self._ended = time.perf_counter()
        if len(self._within) == _STEPS:
            self._began = self._ended
        if len(self._within) == 2 * _STEPS:
            raise _StepsTaken
        return self._batches[len(self._within) % len(self._batches)]

    def take_step(self, batch: Batch, stop: bool = False) -> StepOutput:
        began = time.perf_counter()
        output = self._step(batch, stop)
        output.shown.numpy()  # Until it has ended: a GPU computes asynchronously.
        self._within.append(time.perf_counter() - began)
        return output

    def row(self) -> common.Row:
        within = sum(self._within[_STEPS:])
        outside = self._ended - self._began - within
        name = "the loop's own work beside a step"
        return common.Row(name, 1e3 * outside / _STEPS, "ms", outside / within)


def measure(
    run: Run,
    build_loop: Callable[[Run], TrainingLoop],
    step: Callable[[Batch, bool], StepOutput],
    batches: Sequence[Batch],
) -> list[common.Row]:
    """Measures some steps of a loop, and a checkpoint.

    Args:
      run: what is trained.
      build_loop: returns the loop over a run's steps.
      step: updates the run's state; traced already.
      batches: in memory.
    """
    watch = _Stopwatch(step, batches)
    # The progress bar of an endless run says nothing; it is drawn all the same.
    with contextlib.suppress(_StepsTaken), contextlib.redirect_stderr(io.StringIO()):
        build_loop(_endless(run)).train(watch.take_step, watch)
    run.saved.save_last()  # The first one makes folders and buffers.
    checkpoint = common.seconds(run.saved.save_last)
    return [watch.row(), common.Row("a checkpoint", 1e3 * checkpoint, "ms")]


def _endless(run: Run) -> Run:
    """Returns a run whose steps are followed by no epoch's end and no checkpoint."""
    run.state.sums.assign(0 * run.state.sums)  # Otherwise an epoch may seem to have ended.
    config = run.config.copy_and_resolve_references()
    config.checkpoint_minutes, config.patience = float(_ENDLESS), 0
    return dataclasses.replace(run, config=config, steps_per_epoch=_ENDLESS)
