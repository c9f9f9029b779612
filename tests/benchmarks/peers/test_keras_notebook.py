"""The notebook's captioner: its texts and its samples."""

from __future__ import annotations

import numpy as np

from imcap.benchmarks.peers import keras_notebook

FEATURES = {"a": np.full((1, 3), 1.0, np.float32), "b": np.full((1, 3), 2.0, np.float32)}
CAPTIONS = {"a": ["A dog's ball!"], "b": ["Two T-shirts"]}


def test_captions_are_marked_and_without_punctuation():
    marked = {image: keras_notebook.mark(captions) for image, captions in CAPTIONS.items()}
    assert marked == {
        "a": ["startseq a dogs ball endseq"], "b": ["startseq two t shirts endseq"]
    }  # fmt: skip
    assert keras_notebook.longest(marked) == 5


def test_each_prefix_of_a_caption_is_a_sample_with_a_one_hot_target():
    marked = {image: keras_notebook.mark(captions) for image, captions in CAPTIONS.items()}
    tokenizer = keras_notebook.fit_tokenizer(marked)
    batches = keras_notebook.data_generator(marked, FEATURES, tokenizer, 5, batch_size=1)
    for image in ("a", "b", "a"):
        (vectors, prefixes), targets = next(batches)
        (ids,) = tokenizer.texts_to_sequences(marked[image])
        assert vectors.tolist() == FEATURES[image].tolist() * 4
        assert prefixes.tolist() == [[0] * (5 - n) + ids[:n] for n in range(1, 5)]
        assert targets.shape == (4, len(tokenizer.word_index) + 1)
        assert np.argmax(targets, axis=1).tolist() == ids[1:]
        assert targets.sum() == 4
    assert keras_notebook.word_for_id(ids[1], tokenizer) == "a"
    assert keras_notebook.word_for_id(0, tokenizer) is None
