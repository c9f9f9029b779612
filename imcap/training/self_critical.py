"""Self-critical sequence training (Rennie et al., 2017, arXiv 1612.00563).

Captions are sampled from the decoder; words of captions with a higher reward than the others of
the same image become more probable, those of worse ones less. Each caption's baseline is the mean
reward of the image's other samples (Kool et al., 2019), instead of the greedy caption's reward: it
needs no further decoding, and as it does not depend on the caption the gradient stays unbiased.

The log-probabilities come from a second pass over the samples, by teacher forcing. Differentiating
the sampling itself would keep the vocabulary's logits of every step for every sequence, ended or
not; the second pass multiplies the output layer once, for the sampled words only, in the training's
dtype. There is no dropout in the first pass, and none in the second unless it is asked for: the
gradient is only unbiased for the distribution that was sampled from. With few training images this
bias is worth having, as their captions would be learnt by heart. In bfloat16 the passes differ by
rounding.

A decoder that was trained with label smoothing gives each tenth word of a sample to the whole
vocabulary alike. At a temperature of 1 the first thing that is learnt from such samples is to avoid
rare words; a lower one leaves these out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from ml_collections import ConfigDict

from imcap import records, text
from imcap.decoders.base import NO_DROPOUT, Decoder, Dropout
from imcap.decoding import sampling
from imcap.training import rewards
from imcap.training.objectives import (
    Batch,
    CrossEntropy,
    Mean,
    Objective,
    Outcome,
    Randomness,
    ratio,
    with_a_step,
)

# (samples int32 [batch, samples, length], references int32 [batch, captions, length]), both without
# START and with 0 after END, to float32 [batch, samples].
Reward = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
_KEYS = 2**31 - 1


class SelfCritical(Objective):
    """Minus the expected reward of a sampled caption, and perhaps a share of cross-entropy.

    An image's random numbers depend on the seed, the step and its `image_id` only, so that any
    number of replicas draws the same captions, but for words whose probability is rounded
    differently just where the random number lies.
    """

    SUMS = ("reward", "samples", "captions", "cross-entropy", "tokens")
    SHOWN = "reward"

    def __init__(
        self,
        decoder: Decoder,
        reward: Reward,
        *,
        samples: int,
        max_length: int,
        temperature: float = 1.0,
        dropout: bool = False,
        cross_entropy: CrossEntropy | None = None,
        cross_entropy_weight: float = 0.0,
    ) -> None:
        """Stores what the loss depends on.

        Args:
          decoder: any.
          reward: of sampled captions.
          samples: captions per image, at least 2.
          max_length: words of a sampled caption at most.
          temperature: see `sampling.sampling_logits`; the loss is of the same distribution.
          dropout: whether the model's dropout holds when the samples are learnt from.
          cross_entropy: of the reference captions; with a weight of 0 it is not computed.
          cross_entropy_weight: what it is multiplied with before it is added.
        """
        self._decoder, self._reward = decoder, reward
        self._shape, self._temperature = [samples, max_length], temperature
        self._has_dropout = dropout
        self._cross_entropy = cross_entropy if cross_entropy_weight else None
        self._weight = cross_entropy_weight

    @classmethod
    def from_config(
        cls, config: ConfigDict, decoder: Decoder, folder: str, info: records.Info
    ) -> SelfCritical:
        """See `Objective`; reads the captions of the training split once."""
        settings = config.self_critical
        return cls(
            decoder,
            rewards.build(folder, info, settings.bleu4_weight),
            samples=settings.samples,
            max_length=info.text["max_length"],
            temperature=settings.temperature,
            dropout=settings.dropout,
            cross_entropy=CrossEntropy.from_config(config, decoder, folder, info),
            cross_entropy_weight=settings.cross_entropy_weight,
        )

    def __call__(self, batch: Batch, randomness: Randomness) -> Outcome:
        """See `Objective`: the mean is over the samples of all images that have captions."""
        features, tokens = batch["features"], with_a_step(batch["tokens"])
        keys = tf.strings.to_hash_bucket_fast(batch["image_id"], _KEYS)
        uniforms = sampling.uniform_rows(randomness.seed, keys, self._shape)
        samples = sampling.sample(self._decoder, features, uniforms, self._temperature)
        has_captions = tf.cast(tf.reduce_any(tokens != text.PAD, axis=[1, 2]), tf.float32)
        # Without a reference nothing is known of a sample.
        found = tf.stop_gradient(self._reward(samples, tokens[..., 1:])) * has_captions[:, None]
        dropout = randomness.dropout if self._has_dropout else NO_DROPOUT
        loss = surrogate_loss(
            self._decoder, features, samples, leave_one_out(found), self._temperature, dropout
        )
        count = tf.reduce_sum(has_captions) * self._shape[0]
        terms, sums = [Mean(loss, count)], [tf.reduce_sum(found), count, count]
        if self._cross_entropy is None:
            return Outcome(terms, tf.stack([*sums, 0.0, 0.0]))
        (mean,), references = self._cross_entropy(batch, randomness)
        terms.append(Mean(self._weight * mean.total, mean.count))
        return Outcome(terms, tf.concat([tf.stack(sums), references[:2]], axis=0))

    def columns(self, sums: Any) -> dict[str, Any]:
        """See `Objective`: `reward` is the samples' mean, `loss` what is minimized, which is minus
        that plus the weighted cross-entropy (without label smoothing)."""
        reward = ratio(sums[0], sums[1])
        if self._cross_entropy is None:
            return {"loss": -reward, "reward": reward}
        return {"loss": self._weight * ratio(sums[3], sums[4]) - reward, "reward": reward}


def leave_one_out(rewards: tf.Tensor) -> tf.Tensor:
    """Subtracts from each reward the mean of the image's other ones, float32 [batch, samples]."""
    samples = tf.cast(tf.shape(rewards)[1], tf.float32)
    return (rewards - tf.reduce_mean(rewards, axis=1, keepdims=True)) * samples / (samples - 1)


def surrogate_loss(
    decoder: Decoder,
    features: tf.Tensor,
    samples: tf.Tensor,
    advantages: tf.Tensor,
    temperature: float = 1.0,
    dropout: Dropout = NO_DROPOUT,
) -> tf.Tensor:
    """Returns a sum whose gradient is that of minus the expected reward (REINFORCE; Williams,
    1992), once it is divided by the number of samples; its own value means nothing.

    Args:
      decoder: any.
      features: [batch, positions, channels].
      samples: int32 [batch, samples, max_length + 1], from `sampling.sample`.
      advantages: float32 [batch, samples], rewards less their baselines.
      temperature: of the sampling.
      dropout: of the pass that the log-probabilities come from.

    Returns:
      Minus the advantages times the samples' log-probabilities, summed up, float32 scalar.
    """
    # In the last column is at most the END that follows with probability 1.
    targets = samples[..., :-1]
    longest = tf.reduce_max(tf.math.count_nonzero(targets, axis=-1))
    # A replica may have no image of a small batch; a recurrence needs at least one step.
    targets = targets[..., : tf.maximum(longest, 1)]
    previous = tf.pad(targets[..., :-1], [[0, 0], [0, 0], [1, 0]], constant_values=text.START)
    is_token = targets != text.PAD
    previous = tf.where(is_token, previous, text.PAD)  # Nothing follows END.
    vectors = decoder.output_vectors(features, previous, dropout)
    logits = decoder.logits(tf.boolean_mask(vectors, is_token))
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
        tf.boolean_mask(targets, is_token), sampling.sampling_logits(logits, temperature)
    )
    weights = tf.broadcast_to(advantages[..., tf.newaxis], tf.shape(targets))
    return tf.reduce_sum(tf.boolean_mask(weights, is_token) * losses)
