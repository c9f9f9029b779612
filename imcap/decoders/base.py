"""What every decoder has in common: its interface, its word matrix and its LSTM."""

from __future__ import annotations

import abc
from typing import Any

import keras
import tensorflow as tf
from ml_collections import ConfigDict

State = dict[str, tf.Tensor]


class Decoder(keras.layers.Layer, abc.ABC):
    """Gives the next word's logits from features and the words before.

    `width` is the number of sequences per image that advance together: the captions of an image
    in training, the beams in decoding. What `start` computes from the features, the memory, is
    shared by them all; the carry is each sequence's own. Decoding is always float32.
    """

    def __init__(
        self, config: ConfigDict, vocab_size: int, channels: int, compute_dtype: str = "float32"
    ) -> None:
        """Makes the weights.

        Args:
          config: a config's `model` part.
          vocab_size: number of token ids.
          channels: of the features.
          compute_dtype: of matrix products in `hidden`; weights and logits stay float32.
        """
        super().__init__(name=config.decoder, autocast=False)
        self.config = config
        self.vocab_size = vocab_size
        self._training_dtype = tf.as_dtype(compute_dtype)
        size = config.embedding_size
        uniform = keras.initializers.RandomNormal(stddev=0.05, seed=config.get("seed", 0))
        self.embedding = self.add_weight((vocab_size, size), uniform, name="embedding")
        self.output_bias = self.weight("output_bias", vocab_size)

    def weight(self, name: str, *shape: int, seed: int = 0) -> keras.Variable:
        """Adds a matrix (Glorot uniform) or a vector (zeros)."""
        is_vector = len(shape) == 1
        initializer = "zeros" if is_vector else keras.initializers.GlorotUniform(seed=seed)
        return self.add_weight(shape, initializer, name=name)

    @abc.abstractmethod
    def start(self, features: tf.Tensor, width: int, dropout: Dropout) -> tuple[State, State]:
        """Begins `width` sequences for each image.

        Args:
          features: [batch, positions, channels], any float dtype.
          width: sequences per image.
          dropout: in training; `NO_DROPOUT` otherwise.

        Returns:
          The memory, tensors [batch, ...], and the carry, tensors [batch, width, ...].
        """

    @abc.abstractmethod
    def hidden(self, features: tf.Tensor, tokens: tf.Tensor, dropout: Dropout) -> tf.Tensor:
        """Teacher forcing: the output layer's input for given words.

        Args:
          features: [batch, positions, channels].
          tokens: int32 [batch, width, length], START first.
          dropout: with the step's own seed.

        Returns:
          [batch, width, length, embedding_size]; `logits` turns any part of it into logits.
        """

    @abc.abstractmethod
    def step(self, tokens: tf.Tensor, memory: State, carry: State) -> tuple[tf.Tensor, State]:
        """Advances every sequence by one word.

        Args:
          tokens: int32 [batch, width], the words before.
          memory, carry: from `start`, or the carry of the step before.

        Returns:
          float32 logits [batch, width, vocab_size], and the new carry.
        """

    def logits(self, hidden: tf.Tensor) -> tf.Tensor:
        """[..., embedding_size] to float32 logits [..., vocab_size], with tied word vectors
        (Press and Wolf, 2017)."""
        kernel = tf.cast(self.embedding, hidden.dtype)
        flat = tf.reshape(hidden, (-1, kernel.shape[1]))
        logits = tf.cast(tf.matmul(flat, kernel, transpose_b=True), tf.float32)
        shape = tf.concat([tf.shape(hidden)[:-1], [self.vocab_size]], axis=0)
        return tf.reshape(logits + self.output_bias, shape)

    def embed(self, tokens: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
        """int32 [...] to word vectors [..., embedding_size]."""
        return tf.cast(tf.gather(tf.convert_to_tensor(self.embedding), tokens), dtype)


class Dropout:
    """Stateless dropout: the masks are a function of the seed, so that a resumed run draws the
    same ones as an uninterrupted run."""

    def __init__(self, seed: tf.Tensor | None) -> None:
        """`seed`: int32 [2], other for each step and replica; None: nothing is dropped."""
        self._seed = seed
        self._calls = 0

    def __call__(self, x: tf.Tensor, rate: float) -> tf.Tensor:
        """Zeroes a share `rate` of x and scales the rest; each call draws another mask."""
        if self._seed is None or not rate:
            return x
        self._calls += 1
        seed = tf.random.experimental.stateless_fold_in(self._seed, self._calls)
        return tf.nn.experimental.stateless_dropout(x, rate, seed, rng_alg="philox")


NO_DROPOUT = Dropout(None)


def dense(x: tf.Tensor, kernel: Any, bias: Any = None) -> tf.Tensor:
    """x [..., n] times kernel [n, m] plus bias [m], as one matrix product in x's dtype."""
    kernel = tf.cast(kernel, x.dtype)
    flat = tf.matmul(tf.reshape(x, (-1, kernel.shape[0])), kernel)
    if bias is not None:
        flat += tf.cast(bias, x.dtype)
    return tf.reshape(flat, tf.concat([tf.shape(x)[:-1], [kernel.shape[1]]], axis=0))


def lstm(gates: tf.Tensor, cell: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """One LSTM update (Hochreiter and Schmidhuber, 1997).

    Args:
      gates: [..., 4 * units] before their activations: input, forget, candidate, output.
      cell: [..., units].

    Returns:
      The new hidden state and cell, [..., units] each.
    """
    write, keep, candidate, show = tf.split(gates, 4, axis=-1)
    # Without the 1, an untrained cell forgets half at each step.
    cell = tf.sigmoid(keep + 1) * cell + tf.sigmoid(write) * tf.tanh(candidate)
    return tf.sigmoid(show) * tf.tanh(cell), cell


def repeat(x: tf.Tensor, width: int) -> tf.Tensor:
    """[batch, n] to [batch, width, n]."""
    return tf.repeat(x[:, tf.newaxis], width, axis=1)


def unroll(advance: Any, inputs: tf.Tensor, carry: State, keep: tuple[str, ...]) -> list[tf.Tensor]:
    """Runs `advance(input, carry) -> carry` over time.

    Args:
      inputs: [batch, width, length, n], one step's [batch, width, n] at a time.
      carry: tensors [batch, width, ...].
      keep: which of the carry's tensors to return for all steps.

    Returns:
      A list of [batch, width, length, ...].
    """
    steps = tf.shape(inputs)[2]
    by_time = tf.TensorArray(inputs.dtype, steps).unstack(tf.transpose(inputs, (2, 0, 1, 3)))
    kept = tuple(tf.TensorArray(carry[name].dtype, steps) for name in keep)

    def body(time, carry, kept):
        carry = advance(by_time.read(time), carry)
        kept = tuple(array.write(time, carry[name]) for array, name in zip(kept, keep, strict=True))
        return time + 1, carry, kept

    _, _, kept = tf.while_loop(
        lambda time, *_: time < steps, body, (0, carry, kept), maximum_iterations=steps
    )
    return [tf.transpose(array.stack(), (1, 2, 0, 3)) for array in kept]
