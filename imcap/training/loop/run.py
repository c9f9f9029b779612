"""What belongs to one training run: its settings, state, checkpoints and history."""

from __future__ import annotations

import dataclasses

import tensorflow as tf
from ml_collections import ConfigDict

from imcap.training import strategies
from imcap.training.checkpoints import Checkpoints
from imcap.training.history import History
from imcap.training.steps import TrainState


@dataclasses.dataclass(frozen=True)
class Run:
    """A run that was opened: new, or restored from its last checkpoint.

    Attributes:
      config: a config's `train` part.
      workdir: the run's folder.
      strategy: of the training.
      state: of the training.
      saved: the run's checkpoints.
      history: its epochs so far.
      first_step: steps taken before this process.
      steps_per_epoch: updates of the weights in an epoch.
    """

    config: ConfigDict
    workdir: str
    strategy: tf.distribute.Strategy
    state: TrainState
    saved: Checkpoints
    history: History
    first_step: int
    steps_per_epoch: int

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the run's files."""
        return strategies.is_chief(self.strategy)

    @property
    def total_steps(self) -> int:
        """The steps of the whole training, unless it stops early."""
        return self.steps_per_epoch * self.config.epochs

    @property
    def best_column(self) -> str:
        """The history's column that decides which weights are the best."""
        return f"dev_{self.config.best_metric}"

    def is_stalled(self) -> bool:
        """Tells whether dev scores have not improved for `patience` evaluations."""
        return self.history.is_stalled(self.best_column, self.config.patience)

    def is_trained(self) -> bool:
        """Tells whether this process has nothing left to do."""
        is_over = self.first_step >= self.total_steps and not self.is_epoch_open()
        return is_over or self.is_stalled()

    def is_epoch_open(self) -> bool:
        """Tells whether all steps of an epoch are taken, and it was stopped before its end.

        The end of an epoch sets the sums to zero.
        """
        is_last_step = int(self.state.step.numpy()) % self.steps_per_epoch == 0
        return is_last_step and bool(self.state.sums.numpy().any())
