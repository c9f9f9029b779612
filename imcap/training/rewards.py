"""The reward of sampled captions, computed in graph from token ids.

END counts as a word: a caption that stops in the middle lacks the n-grams with which references
end, and would otherwise lose nothing.
"""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from imcap import input_pipeline, records
from imcap.metrics import token_bleu, token_cider
from imcap.metrics.document_frequencies import DocumentFrequencies
from imcap.records import corruption

_SPLIT = "train"


@dataclasses.dataclass(frozen=True)
class CaptionReward:
    """CIDEr-D (Vedantam et al., 2015) against the image's references, and perhaps BLEU-4.

    Attributes:
      frequencies: of the training captions' n-grams, END included.
      bleu4_weight: what smoothed sentence BLEU-4 is multiplied with before it is added.
    """

    frequencies: DocumentFrequencies
    bleu4_weight: float = 0.0

    def __call__(self, samples: tf.Tensor, references: tf.Tensor) -> tf.Tensor:
        """Returns the reward of each sample.

        Args:
          samples: int32 [batch, samples, length], without START, 0 after END.
          references: int32 [batch, captions, length], likewise; rows of 0 are no caption.

        Returns:
          float32 [batch, samples]: the mean over the references of CIDEr-D, from 0 to 10, plus the
          weighted BLEU-4, from 0 to 1.
        """
        is_caption = tf.cast(tf.reduce_any(references != 0, axis=-1), tf.float32)
        each = token_cider.cider_d(samples, references, self.frequencies)
        total = tf.einsum("bsr,br->bs", each, is_caption)
        reward = tf.math.divide_no_nan(total, tf.reduce_sum(is_caption, axis=1, keepdims=True))
        if self.bleu4_weight:
            reward += self.bleu4_weight * token_bleu.sentence_bleu4(samples, references)
        return reward


def build(folder: str, info: records.Info, bleu4_weight: float = 0.0) -> CaptionReward:
    """Counts the n-grams of the training captions and returns the reward.

    Args:
      folder: the local records folder.
      info: its info.json.
      bleu4_weight: see `CaptionReward`.

    Raises:
      UserError: a shard is corrupted, or there are more token ids than `token_cider` takes.
    """
    batches = input_pipeline.read_tokens(folder, info, _SPLIT)
    try:
        frequencies = DocumentFrequencies.count(
            (tokens[..., 1:] for tokens in batches), info.text["vocabulary_size"]
        )
    except corruption.ERRORS as error:
        corruption.raise_corrupted(folder, info, _SPLIT, error)
    return CaptionReward(frequencies, bleu4_weight)
