"""The captioner that notebooks build on Keras alone, as what `imcap bench notebook` compares with.

Captions between the words `startseq` and `endseq`, Keras' Tokenizer, a generator that makes a
sample of every prefix of every caption, one-hot targets, the merge architecture (Tanti et al.,
2017), and one `model.predict` for each word of a caption.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

_FIRST, _LAST = "startseq", "endseq"
_DROPOUT = 0.4

Features = Mapping[str, np.ndarray]  # By image, float32 [1, channels].
Captions = Mapping[str, Sequence[str]]  # By image; from `mark`.
Batch = tuple[tuple[np.ndarray, np.ndarray], np.ndarray]


def mark(captions: Iterable[str]) -> list[str]:
    """Returns captions in lower case, without punctuation, between startseq and endseq."""
    plain = (caption.lower().replace("'", "") for caption in captions)
    words = (re.sub("[^a-z0-9]", " ", caption).split() for caption in plain)
    return [" ".join([_FIRST, *found, _LAST]) for found in words]


def fit_tokenizer(captions: Captions) -> Any:
    """Returns Keras' Tokenizer for the words of all captions."""
    tokenizer = tf.keras.preprocessing.text.Tokenizer()
    tokenizer.fit_on_texts([caption for found in captions.values() for caption in found])
    return tokenizer


def longest(captions: Captions) -> int:
    """Returns the number of words of the longest caption, markers included."""
    return max(len(caption.split()) for found in captions.values() for caption in found)


def build_model(vocab_size: int, max_length: int, channels: int, sizes: ConfigDict) -> keras.Model:
    """Returns the compiled model: an image's vector and previous words in, the next word out.

    Args:
      vocab_size: number of ids, that of padding included.
      max_length: ids of the second input.
      channels: of the image's vector.
      sizes: a config's `model` part; its `units` and `embedding_size` are taken.
    """
    image = keras.Input((channels,))
    dense = keras.layers.Dense(sizes.units, activation="relu")
    projected = dense(keras.layers.Dropout(_DROPOUT)(image))
    previous = keras.Input((max_length,))
    embedded = keras.layers.Embedding(vocab_size, sizes.embedding_size, mask_zero=True)(previous)
    hidden = keras.layers.LSTM(sizes.units)(keras.layers.Dropout(_DROPOUT)(embedded))
    merged = keras.layers.add([projected, hidden])
    merged = keras.layers.Dense(sizes.embedding_size, activation="relu")(merged)
    model = keras.Model(
        [image, previous], keras.layers.Dense(vocab_size, activation="softmax")(merged)
    )
    model.compile(loss="categorical_crossentropy", optimizer="adam")
    return model


def data_generator(
    captions: Captions, features: Features, tokenizer: Any, max_length: int, batch_size: int
) -> Iterator[Batch]:
    """Yields batches of `batch_size` images without end; each prefix of a caption is a sample.

    A batch is ((vectors [samples, channels], padded prefixes [samples, max_length]), one-hot next
    words [samples, vocab_size]).
    """
    vocab_size = len(tokenizer.word_index) + 1
    vectors: list[np.ndarray] = []
    prefixes: list[np.ndarray] = []
    targets: list[np.ndarray] = []
    count = 0
    while True:
        for image, found in captions.items():
            for ids in tokenizer.texts_to_sequences(found):
                for end in range(1, len(ids)):
                    (prefix,) = keras.utils.pad_sequences([ids[:end]], maxlen=max_length)
                    (target,) = keras.utils.to_categorical([ids[end]], num_classes=vocab_size)
                    vectors.append(features[image][0])
                    prefixes.append(prefix)
                    targets.append(target)
            count += 1
            if count == batch_size:
                yield (np.array(vectors), np.array(prefixes)), np.array(targets)
                vectors, prefixes, targets, count = [], [], [], 0


def word_for_id(number: int, tokenizer: Any) -> str | None:
    """Returns the word of an id, None for padding, after a search through all words."""
    return next((word for word, index in tokenizer.word_index.items() if index == number), None)


def generate_caption(model: keras.Model, tokenizer: Any, vector: np.ndarray, max_words: int) -> str:
    """Returns the greedy caption of an image, without markers.

    Args:
      model: from `build_model`.
      tokenizer: from `fit_tokenizer`.
      vector: of the image, float32 [1, channels].
      max_words: where a caption without an end is cut.
    """
    max_length = model.inputs[1].shape[1]
    words = [_FIRST]
    for _ in range(min(max_words, max_length)):
        (ids,) = tokenizer.texts_to_sequences([" ".join(words)])
        previous = keras.utils.pad_sequences([ids], maxlen=max_length)
        probabilities = model.predict([vector, previous], verbose=0)
        word = word_for_id(int(np.argmax(probabilities)), tokenizer)
        if word is None or word == _LAST:
            break
        words.append(word)
    return " ".join(words[1:])
