"""Document frequencies of n-grams: keys, counts, weights and arrays."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf
from token_captions import IDS, VOCABULARY, pad, pad_all, random_images

from imcap.errors import UserError
from imcap.metrics.document_frequencies import DocumentFrequencies, check_vocabulary, ngram_keys


@pytest.fixture(scope="module")
def captions() -> np.ndarray:
    return pad_all(random_images(seed=1, images=50, captions=5, longest=20))


@pytest.fixture(scope="module")
def frequencies(captions) -> DocumentFrequencies:
    return DocumentFrequencies.count([captions], VOCABULARY)


def test_padding_within_a_caption_is_in_no_ngram():
    keys = ngram_keys(tf.constant([5, 0, 6, 7])).numpy()
    assert np.count_nonzero(keys, axis=1).tolist() == [3, 1, 0, 0]
    short = ngram_keys(tf.constant([5, 6])).numpy()
    assert np.count_nonzero(short, axis=1).tolist() == [2, 1, 0, 0]


def test_different_ngrams_have_different_keys():
    ngrams = [ngram for n in range(1, 5) for ngram in itertools.product(IDS, repeat=n)]
    padded = pad(ngrams, 4)
    last = [len(ngram) - 1 for ngram in ngrams]
    keys = ngram_keys(tf.constant(padded)).numpy()[np.arange(len(ngrams)), last, 0]
    assert len(set(keys.tolist())) == len(ngrams) and 0 not in keys


def test_a_larger_vocabulary_is_refused():
    check_vocabulary(VOCABULARY)
    for refuse in (check_vocabulary, lambda size: DocumentFrequencies.count([], size)):
        with pytest.raises(UserError, match="65,537 token ids") as caught:
            refuse(VOCABULARY + 1)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("buffer", [0, 300, 10_000])
def test_counts_do_not_depend_on_batches(captions, frequencies, buffer):
    batches = [captions[:1], captions[1:20], captions[20:20], captions[20:]]
    found = DocumentFrequencies.count(batches, VOCABULARY, buffer=buffer)
    assert found.num_images == 50
    np.testing.assert_array_equal(found.ngrams, frequencies.ngrams)
    np.testing.assert_array_equal(found.weights, frequencies.weights)
    assert (np.diff(found.ngrams) > 0).all()


def test_ngrams_of_one_image_weigh_as_much_as_unknown_ones():
    single = DocumentFrequencies.count([pad_all([[[7, 8]], [[9, 8]]])], VOCABULARY)
    assert single.ngrams.tolist() == [8]  # In both.
    weights = single.weigh(tf.constant([8, 7, 12, 0], tf.int64)).numpy()
    np.testing.assert_allclose(weights, np.log([1, 2, 2, 2]), atol=1e-7)


def test_arrays_hold_the_frequencies(frequencies):
    frequencies.weigh(tf.constant([1], tf.int64))  # The tensors that this caches are no arrays.
    arrays = frequencies.arrays()
    assert arrays.keys() == {"ngrams", "weights", "num_images"}
    found = DocumentFrequencies.from_arrays(arrays)
    assert found.num_images == frequencies.num_images
    np.testing.assert_array_equal(found.ngrams, frequencies.ngrams)
    np.testing.assert_array_equal(found.weights, frequencies.weights)
    with pytest.raises(KeyError):
        DocumentFrequencies.from_arrays({})
