"""Captions for a whole split by a trained decoder, and their scores."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf
from ml_collections import ConfigDict

from imcap import input_pipeline, progress, records, text
from imcap.decoders.base import DecoderLike
from imcap.decoding import beam_search, rerank
from imcap.errors import UserError
from imcap.metrics.scores import Scorer, Scores, score_captions
from imcap.records import corruption

_BATCH_SIZE = 64  # Images.


class Caption(NamedTuple):
    """A predicted caption.

    Attributes:
      caption: its words, separated by single spaces.
      score: mean log-probability per token, END included.
      rank: what captions of an image are ordered by; see `beam_search.SearchResult` and `rerank`.
    """

    caption: str
    score: float
    rank: float


@dataclasses.dataclass
class Predictions:
    """A decoder's captions for the images of a split, in the records' order.

    Attributes:
      captions: image_id -> captions, in descending order of their ranks.
      references: image_id -> the reference captions, standardized as they are scored.
      paths: image_id -> the image's path as the record holds it.
      loss: mean cross-entropy per token of the reference captions.
      num_tokens: how many tokens that is the mean of.
    """

    captions: dict[str, list[Caption]] = dataclasses.field(default_factory=dict)
    references: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    paths: dict[str, str] = dataclasses.field(default_factory=dict)
    loss: float = 0.0
    num_tokens: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Returns everything as values that JSON holds."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Predictions:
        """Returns what `as_dict` was called on."""
        captions = {key: [Caption(*c) for c in found] for key, found in values["captions"].items()}
        return cls(**{**values, "captions": captions})

    @classmethod
    def concatenate(cls, parts: Iterable[Predictions]) -> Predictions:
        """Returns the predictions of consecutive parts of a split as those of the whole."""
        whole, loss = cls(), 0.0
        for part in parts:
            whole.captions |= part.captions
            whole.references |= part.references
            whole.paths |= part.paths
            whole.num_tokens += part.num_tokens
            loss += part.loss * part.num_tokens
        whole.loss = loss / max(whole.num_tokens, 1)
        return whole


class Predictor:
    """Captions splits of one records folder with one decoder; traces its graph only once."""

    def __init__(
        self,
        decoder: DecoderLike,
        tokenizer: text.Tokenizer,
        decode: ConfigDict,
        folder: str,
        info: records.Info,
        reranker: rerank.Reranker = rerank.keep_order,
        keys: Sequence[str] = (records.FEATURES,),
    ) -> None:
        """Stores what `predict_split` needs; nothing is read yet.

        Args:
          decoder: any; later changes of its weights take effect.
          tokenizer: of the records' vocabulary.
          decode: a config's `decode` part.
          folder: the records folder.
          info: its info.json.
          reranker: orders the captions found.
          keys: of the features that decoder and reranker take; see `views`.
        """
        self._reranker, self._keys = reranker, keys
        self._decoder, self._tokenizer, self._decode = decoder, tokenizer, decode
        self._folder, self._info = folder, info
        self._graph: Callable[..., Any] | None = None

    def predict_split(
        self, split: str, *, start: int = 0, limit: int = 0, show_progress: bool = False
    ) -> Predictions:
        """Captions up to `limit` images of a split (0: all), from image `start` on, counted from 0.

        Raises:
          UserError: the split is not in the records, or a shard is missing or corrupted.
        """
        num_images = min(limit or sys.maxsize, self._info.num_images(split) - start)
        dataset = input_pipeline.eval_dataset(
            self._folder, self._info, split,
            batch_size=_BATCH_SIZE, start=start, limit=limit, keys=self._keys,
        )  # fmt: skip
        if self._graph is None:
            self._graph = tf.function(
                self._predict_batch, input_signature=[dataset.element_spec], autograph=False
            )
        predictions, loss, tokens = Predictions(), 0.0, 0
        try:
            with progress.bar(split, "image", num_images, disable=not show_progress) as bar:
                for batch in dataset:
                    found, log_probabilities, counts = self._graph(batch)
                    _add(predictions, batch, found, self._tokenizer)
                    loss -= float(tf.reduce_sum(log_probabilities))
                    tokens += int(tf.reduce_sum(counts))
                    bar.update(len(batch["image_id"]))
        except corruption.ERRORS as error:
            corruption.raise_corrupted(self._folder, self._info, split, error)
        predictions.loss, predictions.num_tokens = loss / max(tokens, 1), tokens
        return predictions

    def _predict_batch(
        self, batch: dict[str, tf.Tensor]
    ) -> tuple[beam_search.SearchResult, tf.Tensor, tf.Tensor]:
        """Returns the captions, and the references' log-probabilities and token counts."""
        features = batch["features"]
        found = beam_search.search(self._decoder, features, self._decode)
        found = self._reranker(found, self._decoder.encode(features))
        return found, *beam_search.log_probability(self._decoder, features, batch["tokens"])


def _add(
    predictions: Predictions,
    batch: Mapping[str, tf.Tensor],
    found: beam_search.SearchResult,
    tokenizer: text.Tokenizer,
) -> None:
    beam = found.tokens.shape[1]
    captions = tokenizer.decode(tf.reshape(found.tokens, (-1, found.tokens.shape[2])))
    scores = found.scores.numpy().reshape(-1).tolist()
    ranks = found.ranks.numpy().reshape(-1).tolist()
    references = batch["captions"].to_list()
    for index, image_id in enumerate(batch["image_id"].numpy()):
        key = image_id.decode()
        rows = range(index * beam, (index + 1) * beam)
        predictions.captions[key] = [Caption(captions[i], scores[i], ranks[i]) for i in rows]
        standardized = text.standardize_all([raw.decode() for raw in references[index]])
        predictions.references[key] = [caption for caption in standardized if caption]
        predictions.paths[key] = batch["path"][index].numpy().decode("utf-8", "surrogateescape")


def score_predictions(predictions: Predictions, optional_scorers: Sequence[Scorer] = ()) -> Scores:
    """Scores the best caption of each image that has a reference of at least one word.

    Args:
      predictions: of a split.
      optional_scorers: see `score_captions`.

    Raises:
      UserError: no image has one.
    """
    references = {key: found for key, found in predictions.references.items() if found}
    if not references:
        raise UserError("the split holds no caption with a word in it: nothing can be scored")
    hypotheses = {key: predictions.captions[key][0].caption for key in references}
    return score_captions(references, hypotheses, optional_scorers)
