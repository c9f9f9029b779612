"""The vocabulary of the training captions, as a Beam transform."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import apache_beam as beam

from imcap import text

_BATCH = 4096  # Captions standardized in one call; the call costs more than a caption.


class BuildVocabulary(beam.PTransform):
    """Raw captions (str) to one element: the lines of vocab.txt (list[str])."""

    def __init__(self, min_count: int, vocab_size: int) -> None:
        super().__init__()
        self._min_count = min_count
        self._vocab_size = vocab_size

    def expand(self, captions: beam.PCollection[str]) -> beam.PCollection[list[str]]:
        min_count = self._min_count
        return (
            captions
            | "Batch" >> beam.BatchElements(_BATCH, _BATCH)
            | "CountInBatch" >> beam.FlatMap(_count)
            | "Count" >> beam.CombinePerKey(sum)
            | "DropRare" >> beam.Filter(lambda item: item[1] >= min_count)
            | "Collect" >> beam.combiners.ToList()
            | "Choose" >> beam.Map(text.choose_vocabulary, min_count, self._vocab_size)
        )


def _count(captions: Iterable[str]) -> Iterator[tuple[str, int]]:
    yield from text.count_words(list(captions)).items()
