"""A decoder as others may add one: this file, and one line in the registry."""

from __future__ import annotations

import tensorflow as tf

from imcap.decoders.base import Decoder, dense, repeat


class MeanDecoder(Decoder):
    """The smallest decoder: logits from the projected mean of the features and the last word."""

    def __init__(self, config, vocab_size, channels, **options):
        super().__init__(config, vocab_size, channels, **options)
        self.projection = self.kernel("projection", channels, config.embedding_size)

    def start(self, features, width, dropout):
        image = dense(tf.reduce_mean(tf.cast(features, tf.float32), axis=1), self.projection)
        return {}, {"image": repeat(image, width)}

    def output_vectors(self, features, tokens, dropout):
        _, carry = self.start(features, tf.shape(tokens)[1], dropout)
        return carry["image"][:, :, tf.newaxis] + self.embed(tokens, tf.float32)

    def step(self, tokens, memory, carry):
        return self.logits(carry["image"] + self.embed(tokens, tf.float32)), carry
