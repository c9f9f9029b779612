"""What a training minimizes: the interface of all objectives, and the cross-entropy.

A further objective is a module with a subclass of `Objective` and a line in `training.OBJECTIVES`.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import tensorflow as tf
from ml_collections import ConfigDict

from imcap import records, text
from imcap.decoders.base import Decoder, Dropout
from imcap.training import OBJECTIVES

Batch = dict[str, tf.Tensor]


class Randomness(NamedTuple):
    """Where a step's random numbers come from.

    Attributes:
      dropout: its masks are those of the step and the replica.
      seed: int32 [2], of the step, the same on all replicas.
    """

    dropout: Dropout
    seed: tf.Tensor


class Mean(NamedTuple):
    """A mean of values that all replicas hold parts of.

    Attributes:
      total: float32 scalar, sum of this replica's values.
      count: float32 scalar, how many they are.
    """

    total: tf.Tensor
    count: tf.Tensor


class Outcome(NamedTuple):
    """What an objective computes of a replica's part of a batch.

    Attributes:
      terms: training minimizes the sum of these means over all replicas.
      sums: float32 [n], named by `Objective.SUMS`; an epoch adds them up.
    """

    terms: Sequence[Mean]
    sums: tf.Tensor


class Objective(abc.ABC):
    """A function of a batch; see `__call__`.

    Attributes:
      SUMS: the names of `Outcome.sums`; the third is the number of captions learnt from.
      SHOWN: which of `columns` the progress bar shows.
    """

    SUMS: ClassVar[tuple[str, ...]]
    SHOWN: ClassVar[str]

    @classmethod
    @abc.abstractmethod
    def from_config(
        cls, config: ConfigDict, decoder: Decoder, folder: str, info: records.Info
    ) -> Objective:
        """Builds the objective as a config's `train` part says.

        Args:
          config: a config's `train` part.
          decoder: what is trained.
          folder: the local records folder.
          info: its info.json.
        """

    @abc.abstractmethod
    def __call__(self, batch: Batch, randomness: Randomness) -> Outcome:
        """Computes the loss of a replica's part of a batch, in graph.

        Args:
          batch: `features` [batch, positions, channels]; `tokens` int32 [batch, captions, length],
            START first, and 0 where a caption or the list of captions ends; `image_id` string
            [batch], which not every objective reads.
          randomness: of the step.
        """

    @abc.abstractmethod
    def columns(self, sums: Any) -> dict[str, Any]:
        """Returns the history's columns, `loss` among them, from sums [n] of `SUMS`."""


def build(config: ConfigDict, decoder: Decoder, folder: str, info: records.Info) -> Objective:
    """Builds the objective called `config.objective`; see `Objective.from_config`."""
    return OBJECTIVES.load(config.objective).from_config(config, decoder, folder, info)


def num_sums(config: ConfigDict) -> int:
    """Returns how many sums the objective of a config's `train` part keeps."""
    return len(OBJECTIVES.load(config.objective).SUMS)


class CrossEntropy(Objective):
    """The cross-entropy of the next word, given the image and the previous words."""

    SUMS = ("cross-entropy", "tokens", "captions")
    SHOWN = "loss"

    def __init__(self, decoder: Decoder, label_smoothing: float = 0.0) -> None:
        """Stores what the loss depends on.

        Args:
          decoder: any.
          label_smoothing: probability that is spread evenly over the vocabulary instead of being
            the target word's (Szegedy et al., 2016).
        """
        self._decoder, self._label_smoothing = decoder, label_smoothing

    @classmethod
    def from_config(
        cls, config: ConfigDict, decoder: Decoder, folder: str, info: records.Info
    ) -> CrossEntropy:
        """See `Objective`."""
        return cls(decoder, config.label_smoothing)

    def __call__(self, batch: Batch, randomness: Randomness) -> Outcome:
        """See `Objective`: the mean is over all tokens but padding."""
        tokens = with_a_step(batch["tokens"])
        losses, entropies = self.token_losses(batch["features"], tokens, randomness.dropout)
        count = tf.cast(tf.size(losses), tf.float32)
        captions = tf.math.count_nonzero(tokens[:, :, 0] != text.PAD, dtype=tf.float32)
        sums = tf.stack([tf.reduce_sum(entropies), count, captions])
        return Outcome([Mean(tf.reduce_sum(losses), count)], sums)

    def columns(self, sums: Any) -> dict[str, Any]:
        """See `Objective`: `loss` is without label smoothing."""
        return {"loss": ratio(sums[0], sums[1])}

    def token_losses(
        self, features: tf.Tensor, tokens: tf.Tensor, dropout: Dropout
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the losses of a batch's tokens without padding, float32 [tokens], and their
        cross-entropies in nats, which are the losses without label smoothing."""
        targets = tokens[..., 1:]
        is_token = targets != text.PAD
        previous = tf.where(is_token, tokens[..., :-1], text.PAD)  # Nothing follows END.
        vectors = self._decoder.output_vectors(features, previous, dropout)
        # Padding is removed before the output layer, which takes most of a step's time.
        logits = self._decoder.logits(tf.boolean_mask(vectors, is_token))
        targets = tf.boolean_mask(targets, is_token)
        return smoothed_cross_entropy(logits, targets, self._label_smoothing)


def with_a_step(tokens: tf.Tensor) -> tf.Tensor:
    """Returns a batch's tokens with padding where there is no caption to take a step with.

    A batch of images without captions has tokens [batch, 0, 1], and a recurrence needs a step.
    """
    shape = tf.shape(tokens)
    captions, length = tf.maximum(1 - shape[1], 0), tf.maximum(2 - shape[2], 0)
    return tf.pad(tokens, [[0, 0], [0, captions], [0, length]])


def ratio(total: Any, count: Any) -> Any:
    """Returns total / count, of tensors or NumPy's numbers; 0 where nothing was counted."""
    if tf.is_tensor(total):
        return tf.math.divide_no_nan(total, count)
    return total / count if count else 0.0


def smoothed_cross_entropy(
    logits: tf.Tensor, targets: tf.Tensor, smoothing: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns losses with label smoothing and without it.

    One pass of exponentials serves both losses and their gradient, which TensorFlow's own
    functions of the two parts take three for.

    Args:
      logits: float32 [tokens, vocab_size].
      targets: int32 [tokens].
      smoothing: probability that is spread evenly over the vocabulary.

    Returns:
      Two float32 tensors [tokens], in nats.
    """
    vocab_size = tf.shape(logits)[1]
    rows = tf.stack([tf.range(tf.size(targets)), targets], axis=1)

    @tf.custom_gradient
    def losses(
        logits: tf.Tensor,
    ) -> tuple[tuple[tf.Tensor, tf.Tensor], Callable[..., tf.Tensor]]:
        shifted = logits - tf.reduce_max(logits, axis=1, keepdims=True)
        exponentials = tf.exp(shifted)
        totals = tf.reduce_sum(exponentials, axis=1)
        log_totals = tf.math.log(totals)
        entropies = log_totals - tf.gather_nd(shifted, rows)
        uniform = log_totals - tf.reduce_mean(shifted, axis=1)

        def gradient(of_smoothed: tf.Tensor, of_entropies: tf.Tensor) -> tf.Tensor:
            scale = (of_smoothed + of_entropies) / totals
            spread = of_smoothed * smoothing / tf.cast(vocab_size, tf.float32)
            at_targets = (1 - smoothing) * of_smoothed + of_entropies
            of_logits = exponentials * scale[:, tf.newaxis] - spread[:, tf.newaxis]
            return tf.tensor_scatter_nd_sub(of_logits, rows, at_targets)

        return ((1 - smoothing) * entropies + smoothing * uniform, entropies), gradient

    return losses(logits)
