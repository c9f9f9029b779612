"""An LSTM with soft attention over the image's positions (Xu et al., 2015)."""

from __future__ import annotations

import tensorflow as tf
from ml_collections import ConfigDict

from imcap.decoders.base import NO_DROPOUT, Decoder, Dropout, State, dense, repeat, unflatten
from imcap.decoders.cells import attend, join_heads, split_heads, update
from imcap.decoders.lstm import LstmLayers
from imcap.decoders.packing import Packing
from imcap.decoders.prepared_attention import PreparedAttention, Weights
from imcap.decoders.unrolling import unroll_attention

_FEW_ROWS = 64  # Up to here a step by `PreparedAttention` is faster.


class AttentionDecoder(Decoder):
    """Show, Attend and Tell's soft attention: the hidden state is the query, a gate scales the
    context, and the context enters the LSTM and the output layer.

    The attention scores are scaled dot products (Vaswani et al., 2017) instead of a small network:
    one matrix product for all captions of an image. The first of several LSTM layers attends, and
    the context goes to the output layer, too (Wu et al., 2016).
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
        """See `Decoder`; the features are projected to `config.units` channels."""
        super().__init__(config, vocab_size, channels, compute_dtype=compute_dtype, seed=seed)
        units, size = config.units, config.embedding_size
        self.projection_kernel = self.kernel("projection_kernel", channels, units)
        self.projection_bias = self.bias("projection_bias", units)
        self.init_kernel = self.kernel("init_kernel", units, 2 * units)
        # The name of a weight decides its initial values: this one is kept.
        self.query_gate_kernel = self.kernel("query_kernel", units, 2 * units)
        self.word_kernel = self.kernel("word_kernel", size, 4 * units)
        self.recurrent_kernel = self.kernel("recurrent_kernel", 2 * units, 4 * units)
        self.lstm_bias = self.bias("lstm_bias", 4 * units)
        self.key_kernel = self.kernel("key_kernel", units, units) if config.separate_keys else None
        self.upper_lstm = LstmLayers(self, first=2)
        self.output_kernel = self.kernel("output_kernel", 2 * units + size, size)
        self._prepared: PreparedAttention | None = None

    def prepare_search(self) -> None:
        """See `Decoder`."""
        logits = self.logits_kernel
        weights = (
            self.query_gate_kernel,
            self.word_kernel,
            self.lstm_bias,
            self.recurrent_kernel,
            self.output_kernel,
            tf.transpose(tf.convert_to_tensor(self.embedding)) if logits is None else logits,
            self.output_bias,
        )
        self._prepared = PreparedAttention(
            Weights(*map(tf.convert_to_tensor, weights)), self.config.heads
        )

    def start(self, features: tf.Tensor, width: int, dropout: Dropout) -> tuple[State, State]:
        """See `Decoder`: the memory holds keys and values, [batch, heads, positions, size] each.
        Values are projected features; keys are the same, or a product of them."""
        memory, carry = self._start(tf.cast(features, tf.float32), width, dropout)
        return memory, carry | self._start_upper(carry["hidden"])

    def _start(self, features: tf.Tensor, width: int, dropout: Dropout) -> tuple[State, State]:
        if self.config.normalize_features:
            features = normalize(features)
        values = tf.nn.relu(dense(features, self.projection_kernel, self.projection_bias))
        values = dropout(values, self.config.feature_dropout)
        initial = tf.tanh(dense(tf.reduce_mean(values, axis=1), self.init_kernel))
        hidden, cell = tf.split(initial, 2, axis=-1)
        hidden = repeat(hidden, width)
        positions = tf.shape(values)[1]
        carry = {
            "hidden": hidden,
            "cell": repeat(cell, width),
            "attention": tf.zeros([*tf.unstack(tf.shape(hidden)[:2]), positions], hidden.dtype),
        }
        keys = values if self.key_kernel is None else dense(values, self.key_kernel)
        memory = {"keys": keys, "values": values}
        return {name: split_heads(x, self.config.heads) for name, x in memory.items()}, carry

    def _start_upper(self, hidden: tf.Tensor) -> State:
        return self.upper_lstm.zeros(tf.unstack(tf.shape(hidden)[:2]), hidden.dtype)

    def output_vectors(self, features: tf.Tensor, tokens: tf.Tensor, dropout: Dropout) -> tf.Tensor:
        """See `Decoder`."""
        dtype = self._training_dtype
        packing = Packing(tokens)
        memory, carry = self._start(tf.cast(features, dtype), packing.width, dropout)
        words = dropout(self.embed(packing.pack(tokens), dtype), self.config.embedding_dropout)
        inputs = dense(words, self.word_kernel, self.lstm_bias)
        start, attended = (carry["hidden"], carry["cell"]), (memory["keys"], memory["values"])
        recurrent_kernel = dropout(tf.cast(self.recurrent_kernel, dtype), self.config.weight_drop)
        kernels = tf.cast(self.query_gate_kernel, dtype), recurrent_kernel
        hidden, context = unroll_attention(packing, inputs, start, attended, kernels)
        hidden = self.upper_lstm.unroll(packing, hidden, self._start_upper(start[0]), dropout)
        return packing.unpack(self._output(hidden, context, words, dropout))

    def step(self, tokens: tf.Tensor, memory: State, carry: State) -> tuple[tf.Tensor, State]:
        """See `Decoder`; the carry's `attention`, [batch, width, positions], is the weights of
        this step."""
        prepared = self._prepared
        if prepared is None:
            return self._plain_step(tokens, memory, carry)
        return tf.cond(
            tf.size(tokens) <= _FEW_ROWS,
            lambda: self._prepared_step(prepared, tokens, memory, carry),
            lambda: self._plain_step(tokens, memory, carry),
        )

    def _plain_step(
        self, tokens: tf.Tensor, memory: State, carry: State
    ) -> tuple[tf.Tensor, State]:
        words, hidden = self.embed(tokens, tf.float32), carry["hidden"]
        inputs = dense(words, self.word_kernel, self.lstm_bias)
        query, gate = tf.split(dense(hidden, self.query_gate_kernel), 2, axis=-1)
        query = split_heads(query, self.config.heads)
        attended, weights = attend(query, memory["keys"], memory["values"])
        context = join_heads(attended) * tf.sigmoid(gate)
        recurrent = dense(tf.concat([context, hidden], -1), self.recurrent_kernel)
        hidden, cell = update(inputs + recurrent, carry["cell"])
        first = {"hidden": hidden, "cell": cell, "attention": tf.reduce_mean(weights, axis=1)}
        hidden, upper = self.upper_lstm.step(hidden, carry)
        return self.logits(self._output(hidden, context, words, NO_DROPOUT)), first | upper

    def _prepared_step(
        self, prepared: PreparedAttention, tokens: tf.Tensor, memory: State, carry: State
    ) -> tuple[tf.Tensor, State]:
        words = self.embed(tf.reshape(tokens, [-1]), tf.float32)
        hidden, cell, context, weights = prepared.advance(
            words, (memory["keys"], memory["values"]), carry["hidden"], carry["cell"]
        )
        attention = tf.reduce_mean(weights, axis=1)
        first = {"hidden": hidden, "cell": cell}
        first = {key: unflatten(x, carry[key]) for key, x in first.items()}
        upper, new = self.upper_lstm.step(first["hidden"], carry)
        logits = prepared.logits(tf.reshape(upper, tf.shape(hidden)), context, words)
        return unflatten(logits, upper), {**first, "attention": attention, **new}

    def _output(
        self, hidden: tf.Tensor, context: tf.Tensor, words: tf.Tensor, dropout: Dropout
    ) -> tf.Tensor:
        hidden = dropout(hidden, self.config.dropout)
        output = tf.tanh(dense(tf.concat([hidden, context, words], -1), self.output_kernel))
        return dropout(output, self.config.dropout)


def normalize(features: tf.Tensor) -> tf.Tensor:
    """Square roots of features [..., channels], which compress the few large activations of a ReLU
    (Perronnin et al., 2010), with mean 0 and variance 1 at each position (Ba et al., 2016).

    What is added before the root bounds its gradient, for layers below that are trained, too.
    """
    roots = tf.sqrt(tf.maximum(tf.cast(features, tf.float32), 0) + 0.01)
    mean, variance = tf.nn.moments(roots, axes=-1, keepdims=True)
    return tf.cast((roots - mean) * tf.math.rsqrt(variance + 1e-5), features.dtype)
