"""Stops a training whose loss, gradients or weights are no longer finite.

The sums of an epoch keep what is not finite, so that it is enough to read them now and then: no
step waits for the device because of it, and nothing is saved before they were read.
"""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from imcap.errors import DivergenceError
from imcap.training import checkpoints
from imcap.training.steps import StepOutput, TrainState


class DivergenceCheck:
    """Keeps the outputs of the steps since the last check, on the device."""

    def __init__(self, state: TrainState, workdir: str, config: ConfigDict, shown: str) -> None:
        """Nothing is read yet.

        Args:
          state: of the training.
          workdir: the run's folder.
          config: a config's `train` part; its settings go into the advice.
          shown: what a step's `shown` is called.
        """
        self._state, self._workdir, self._config = state, workdir, config
        self._names = {"shown": shown, "gradient_norm": "gradient norm"}
        self._recent: list[tuple[int, StepOutput]] = []

    def add(self, step: int, output: StepOutput) -> None:
        """Keeps a step's output; nothing is read."""
        self._recent.append((step, output))

    def check_sums(self) -> np.ndarray:
        """Returns the state's sums.

        Raises:
          DivergenceError: the loss or the gradient norm of a step since the last check is not
            finite.
        """
        sums = self._state.sums.numpy()
        if not np.isfinite(sums).all():
            raise DivergenceError(f"{self._first()}; {self._advice()}")
        self._recent.clear()
        return sums

    def check_weights(self) -> None:
        """Raises DivergenceError unless all weights and sums are finite; for before a save."""
        self.check_sums()
        weights = self._state.decoder.weights
        if not all(bool(tf.reduce_all(tf.math.is_finite(weight.value))) for weight in weights):
            step = int(self._state.step.numpy())
            raise DivergenceError(f"a weight is not finite after step {step}; {self._advice()}")

    def _first(self) -> str:
        """Says of the first step what is not finite."""
        for step, output in self._recent:
            for key, name in self._names.items():
                if not math.isfinite(value := float(getattr(output, key))):
                    return f"the {name} is {value} at step {step}"
        return f"an epoch's sums are not finite at step {int(self._state.step.numpy())}"

    def _advice(self) -> str:
        last = checkpoints.find(self._workdir, checkpoints.LAST)
        kept = f"{last} is from before and stays" if last else "no checkpoint was written before"
        config = self._config
        return (
            f"{kept}: train in another --workdir with a learning_rate below "
            f"{config.learning_rate:g}, a clip_norm above 0 (it is {config.clip_norm:g}) or "
            "compute_dtype=float32 (all in config.train)"
        )
