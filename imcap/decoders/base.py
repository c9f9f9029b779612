"""What all decoders share: the interface, the word embedding, the output layer and dropout.

`dense`, `cells.update` and `Dropout` stand in for Keras layers, which are no slower: on two CPU
cores (medians of 9 runs in turns, 512 units), LSTMCell takes 0.9 of the time of `dense` and
`update` in 20 steps of 192 sequences, and RNN, Dense and Dropout take 0.8 in a training step of 80
or 160 captions without the vocabulary's logits. The reasons are:

- A resumed training has to draw the dropout masks of the uninterrupted one, on every replica. Those
  of keras.layers.Dropout depend on the state of a generator; stateless ones on a seed only.
- Products in bfloat16 in training and float32 in decoding share one set of float32 weights; a Keras
  layer has one dtype policy.
- The attention decoder multiplies all words of a caption by the input kernel at once, outside of
  the loop over time, and adds the context of each step inside; LSTMCell has no way to do so.
"""

from __future__ import annotations

import abc
from typing import Any, Protocol

import keras
import tensorflow as tf
from ml_collections import ConfigDict

from imcap import hashing

State = dict[str, tf.Tensor]


class DecoderLike(Protocol):
    """What gives captions: a decoder, or several that act as one. `Decoder` has the methods'
    descriptions."""

    def start(self, features: tf.Tensor, width: int, dropout: Dropout) -> tuple[State, State]:
        """Returns the memory and the carry of `width` empty sequences for each image."""

    def output_vectors(self, features: tf.Tensor, tokens: tf.Tensor, dropout: Dropout) -> tf.Tensor:
        """Returns the input of `logits` for given previous words."""

    def step(self, tokens: tf.Tensor, memory: State, carry: State) -> tuple[tf.Tensor, State]:
        """Returns the logits of the next word, and the new carry."""

    def logits(self, vectors: tf.Tensor) -> tf.Tensor:
        """Returns the logits of what `output_vectors` gives."""

    def encode(self, features: tf.Tensor) -> tf.Tensor:
        """Returns what images are compared by."""

    def encoding_digest(self) -> str:
        """Returns a hash of what `encode` depends on."""

    def describe_encoding(self) -> str:
        """Returns in one line what `encode` does."""

    def grid(self, records_grid: tuple[int, int]) -> tuple[int, int]:
        """Returns (rows, columns) of the positions that attention weighs."""


class Decoder(keras.layers.Layer, abc.ABC):
    """Computes the next word's logits from features and the previous words.

    `width` is the number of sequences per image that advance together: the captions of an image
    in training, the beam in decoding. The memory, which `start` computes from the features, is
    shared by them all; the carry is the state of each sequence. Decoding is always float32.
    """

    def __init__(
        self,
        config: ConfigDict,
        vocab_size: int,
        channels: int,
        *,
        compute_dtype: str = "float32",
        seed: int = 0,
    ) -> None:
        """Creates the weights.

        Args:
          config: a config's `model` part.
          vocab_size: number of token ids.
          channels: of the features.
          compute_dtype: of matrix products in `output_vectors`; weights and logits stay float32.
          seed: with a weight's name it decides that weight's initial values.
        """
        super().__init__(name=config.decoder, autocast=False)
        self.config = config
        self.vocab_size = vocab_size
        self._training_dtype = tf.as_dtype(compute_dtype)
        self._seed = seed
        normal = keras.initializers.RandomNormal(stddev=0.05, seed=self._weight_seed("embedding"))
        shape = (vocab_size, config.embedding_size)
        is_trained = config.train_word_vectors
        self.embedding = self.add_weight(shape, normal, trainable=is_trained, name="embedding")
        self.output_bias = self.bias("output_bias", vocab_size)
        size = config.embedding_size
        is_tied = config.tie_embeddings
        self.logits_kernel = None if is_tied else self.kernel("logits_kernel", size, vocab_size)

    def kernel(self, name: str, rows: int, columns: int) -> keras.Variable:
        """Adds a matrix [rows, columns] with Glorot uniform initial values."""
        initializer = keras.initializers.GlorotUniform(seed=self._weight_seed(name))
        return self.add_weight((rows, columns), initializer, name=name)

    def bias(self, name: str, size: int) -> keras.Variable:
        """Adds a vector [size] of zeros."""
        return self.add_weight((size,), "zeros", name=name)

    def _weight_seed(self, name: str) -> int:
        # A hash, as weights with one seed and equal shapes would start with equal values.
        return hashing.stable_number(f"{self._seed} {name}", 2**31)

    def prepare_search(self) -> None:
        """Lays out copies of the weights for `start` and `step`, once the weights are final."""

    @abc.abstractmethod
    def start(self, features: tf.Tensor, width: int, dropout: Dropout) -> tuple[State, State]:
        """Returns the state of `width` empty sequences for each image.

        Args:
          features: [batch, positions, channels], any float dtype.
          width: sequences per image.
          dropout: in training; `NO_DROPOUT` otherwise.

        Returns:
          The memory, tensors [batch, ...], and the carry, tensors [batch, width, ...].
        """

    @abc.abstractmethod
    def output_vectors(self, features: tf.Tensor, tokens: tf.Tensor, dropout: Dropout) -> tf.Tensor:
        """Returns the output layer's input for given previous words (teacher forcing).

        Args:
          features: [batch, positions, channels].
          tokens: int32 [batch, width, length], START first, 0 after the last word.
          dropout: with the step's own seed.

        Returns:
          [batch, width, length, embedding_size], anything where the token is 0; `logits` turns any
          part of it into logits.
        """

    @abc.abstractmethod
    def step(self, tokens: tf.Tensor, memory: State, carry: State) -> tuple[tf.Tensor, State]:
        """Advances every sequence by one word.

        Args:
          tokens: int32 [batch, width], the previous words.
          memory, carry: from `start`; after the first step, the carry of the previous step.

        Returns:
          float32 logits [batch, width, vocab_size], and the new carry.
        """

    def logits(self, vectors: tf.Tensor) -> tf.Tensor:
        """[..., embedding_size] to float32 logits [..., vocab_size]; with `tie_embeddings` the
        word vectors are the output layer's kernel (Press and Wolf, 2017)."""
        tied = self.logits_kernel is None
        kernel = tf.cast(self.embedding if tied else self.logits_kernel, vectors.dtype)
        flat = tf.reshape(vectors, (-1, self.config.embedding_size))
        logits = tf.cast(tf.matmul(flat, kernel, transpose_b=tied), tf.float32)
        return unflatten(logits + self.output_bias, vectors)

    def encode(self, features: tf.Tensor) -> tf.Tensor:
        """Returns what images are compared by: the features [batch, positions, channels], or what
        layers of the encoder that are trained with the decoder make of them."""
        return features

    def encoding_digest(self) -> str:
        """Returns a hash of what `encode` depends on; empty where it returns the features."""
        return ""

    def describe_encoding(self) -> str:
        """Returns in one line what `encode` does; empty where it returns the features."""
        return ""

    def grid(self, records_grid: tuple[int, int]) -> tuple[int, int]:
        """Returns (rows, columns) of the positions that attention weighs; `records_grid`: of those
        that the features have."""
        return records_grid

    def weights_by_name(self) -> dict[str, keras.Variable]:
        """Returns all weights by the names that checkpoints have for them."""
        return {weight.name: weight for weight in self.weights}

    def embed(self, tokens: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
        """int32 [...] to word vectors [..., embedding_size]."""
        return tf.cast(tf.gather(tf.convert_to_tensor(self.embedding), tokens), dtype)


class Dropout:
    """Dropout whose masks are a function of the seed (see the module's docstring)."""

    def __init__(self, seed: tf.Tensor | None) -> None:
        """`seed`: int32 [2], different for each step and replica; None: nothing is dropped."""
        self._seed = seed
        self._calls = 0

    def __call__(self, x: tf.Tensor, rate: float) -> tf.Tensor:
        """Zeroes a fraction `rate` of x and scales the rest; each call draws another mask."""
        if self._seed is None or not rate:
            return x
        self._calls += 1
        seed = tf.random.experimental.stateless_fold_in(self._seed, self._calls)
        return tf.nn.experimental.stateless_dropout(x, rate, seed, rng_alg="philox")


NO_DROPOUT = Dropout(None)


def dense(x: tf.Tensor, kernel: Any, bias: Any = None) -> tf.Tensor:
    """Returns x [..., n] times kernel [n, m] plus bias [m]: one matrix product in x's dtype."""
    kernel = tf.cast(kernel, x.dtype)
    flat = tf.matmul(tf.reshape(x, (-1, kernel.shape[0])), kernel)
    if bias is not None:
        flat += tf.cast(bias, x.dtype)
    return unflatten(flat, x)


def unflatten(flat: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """Returns [m, n] as [..., n] for an x [..., k] with as many rows; few operations where at most
    one of x's axes is not known when the graph is traced."""
    known = [-1 if size is None else size for size in x.shape[:-1]]
    if known.count(-1) <= 1:
        return tf.reshape(flat, [*known, flat.shape[1]])
    return tf.reshape(flat, tf.concat([tf.shape(x)[:-1], [flat.shape[1]]], axis=0))


def repeat(x: tf.Tensor, width: int) -> tf.Tensor:
    """Repeats x [batch, n] to [batch, width, n]."""
    return tf.repeat(x[:, tf.newaxis], width, axis=1)
