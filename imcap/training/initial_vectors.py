"""The word vectors that a run's embedding starts from, and the share of the words that has one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from imcap import filesystem, input_pipeline, records, text
from imcap.decoders import word_vectors
from imcap.decoders.word_vectors import WordVectors
from imcap.records import corruption
from imcap.training import checkpoints

COVERAGE = "word_vectors.json"  # In the run's folder, beside checkpoints/.
_MISSING = 10  # Words without a vector that the file names.
_FIRST_WORD = text.END + 1  # Token ids of words follow those of the markers.


def read(
    config: ConfigDict, workdir: str, folder: str, info: records.Info, *, write: bool = True
) -> WordVectors | None:
    """Reads the vectors of `config.model.word_vectors` for the records' vocabulary.

    A run that has a checkpoint does not read them: its embedding is in the checkpoint.

    Args:
      config: resolved.
      workdir: the run's folder.
      folder: the local records folder.
      info: its info.json.
      write: whether this process logs the coverage and writes it to WORKDIR/word_vectors.json.

    Returns:
      None for a run that has none or has a checkpoint.

    Raises:
      UserError: the file cannot be used, see `word_vectors.read`, or a shard is corrupted.
    """
    path = config.model.word_vectors
    if not path or checkpoints.find(workdir, checkpoints.LAST):
        return None
    words = records.read_checked_vocabulary(folder, info)[_FIRST_WORD - text.START :]
    ids = {word: number for number, word in enumerate(words, start=_FIRST_WORD)}
    vectors = word_vectors.read(path, ids, config.model.embedding_size)
    if write:
        coverage = measure_coverage(vectors, words, _count_tokens(folder, info))
        settings = {
            "file": os.path.basename(path),
            "trained": config.model.train_word_vectors,
        }
        os.makedirs(workdir, exist_ok=True)
        filesystem.write_json(os.path.join(workdir, COVERAGE), settings | coverage, indent=1)
        missing = ", ".join(coverage["most_frequent_missing"]) or "none"
        line = describe(settings | coverage)
        logging.info("word vectors: %s; most frequent without one: %s", line, missing)
    return vectors


def _count_tokens(folder: str, info: records.Info) -> np.ndarray:
    try:
        return input_pipeline.count_tokens(folder, info, "train")
    except corruption.ERRORS as error:
        corruption.raise_corrupted(folder, info, "train", error)


def measure_coverage(
    vectors: WordVectors, words: Sequence[str], counts: np.ndarray
) -> dict[str, Any]:
    """Returns which share of the vocabulary and of the training captions' words has a vector.

    Args:
      vectors: as `read` returns them.
      words: of the vocabulary, without the markers.
      counts: int64 [vocabulary_size], how often each token id occurs. Words outside of the
        vocabulary count as words without a vector.
    """
    running = int(counts[text.UNKNOWN] + counts[_FIRST_WORD:].sum())
    covered = int(counts[vectors.ids].sum())
    missing = np.setdiff1d(np.arange(_FIRST_WORD, len(counts)), vectors.ids).tolist()
    missing.sort(key=lambda number: -counts[number])
    return {
        "words": len(words),
        "covered_words": len(vectors.ids),
        "composed_words": int(vectors.is_composed.sum()),
        "share_of_words": len(vectors.ids) / len(words),
        "running_words": running,
        "covered_running_words": covered,
        "share_of_running_words": covered / max(running, 1),
        "most_frequent_missing": [words[number - _FIRST_WORD] for number in missing[:_MISSING]],
    }


def describe_run(workdir: str) -> str:
    """Returns in one line what a run's embedding started from; empty where nothing is known."""
    coverage = filesystem.read_json(os.path.join(workdir, COVERAGE)) or {}
    try:
        return describe(coverage)
    except (KeyError, TypeError, ValueError):
        return ""


def describe(coverage: dict[str, Any]) -> str:
    """Returns the content of WORKDIR/word_vectors.json in one line."""
    composed = coverage["composed_words"]
    return (
        f"{coverage['file']}, {'trained' if coverage['trained'] else 'frozen'}; vectors for "
        f"{coverage['covered_words']:,} of {coverage['words']:,} words of the vocabulary "
        f"({coverage['share_of_words']:.1%}"
        f"{f', {composed:,} composed of subwords' if composed else ''}) and "
        f"{coverage['share_of_running_words']:.1%} of the words in the training captions"
    )
