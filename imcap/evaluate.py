"""Captions for a whole split, their scores, and the files that report them."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from typing import NamedTuple

import tensorflow as tf
from ml_collections import ConfigDict

from imcap import filesystem, input_pipeline, metrics, progress, records, text
from imcap.decoders import Decoder
from imcap.decoding import beam_search
from imcap.errors import UserError
from imcap.records import corruption
from imcap.reports import attention_maps, report
from imcap.training import checkpoints

_BATCH = 64  # Images decoded at a time.
_MAPS = 4  # Best and worst photos each whose attention is drawn.


class Caption(NamedTuple):
    """A predicted caption and its mean log-probability per token."""

    caption: str
    score: float


@dataclasses.dataclass
class Predictions:
    """What a decoder says of a split's photos.

    Attributes:
      captions: image_id -> captions, best first.
      references: image_id -> the real captions, standardized as they are scored.
      paths: image_id -> the photo's path as the record has it.
      loss: mean cross-entropy per token of the real captions.
    """

    captions: dict[str, list[Caption]] = dataclasses.field(default_factory=dict)
    references: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    paths: dict[str, str] = dataclasses.field(default_factory=dict)
    loss: float = 0.0


def predict(
    decoder: Decoder,
    config: ConfigDict,
    info: records.Info,
    split: str,
    tokenizer: text.Tokenizer,
    *,
    limit: int = 0,
    show_progress: bool = False,
) -> Predictions:
    """Captions the images of a split, or its first `limit` ones."""
    dataset = input_pipeline.eval_dataset(
        config.records.dir, info, split, batch_size=_BATCH, limit=limit
    )
    images = min(limit or sys.maxsize, info.num_images(split))
    predict_batch = _graph(decoder, config, dataset.element_spec)
    predictions, totals = Predictions(), [0.0, 0.0]
    bar = progress.bar(split, "image", images, disable=not show_progress)
    try:
        for batch in dataset:
            found, log_probabilities, counts = predict_batch(batch)
            _add(predictions, batch, found, tokenizer)
            totals[0] -= float(tf.reduce_sum(log_probabilities))
            totals[1] += float(tf.reduce_sum(counts))
            bar.update(len(batch["image_id"]))
    except corruption.ERRORS as error:
        corruption.raise_first(config.records.dir, info, split, error)
    bar.close()
    predictions.loss = totals[0] / max(totals[1], 1.0)
    return predictions


def _graph(decoder: Decoder, config: ConfigDict, spec):
    # One graph per decoder and setting: training evaluates after every epoch.
    cache = decoder.__dict__.setdefault("_predict_graphs", {})
    key = json.dumps(config.decode.to_dict(), sort_keys=True)
    if key not in cache:

        def predict_batch(batch):
            found = beam_search.search(decoder, batch["features"], config.decode)
            return found, *beam_search.log_probability(decoder, batch["features"], batch["tokens"])

        cache[key] = tf.function(predict_batch, input_signature=[spec])
    return cache[key]


def _add(predictions: Predictions, batch, found: beam_search.Captions, tokenizer) -> None:
    beam = found.tokens.shape[1]
    captions = tokenizer.decode(tf.reshape(found.tokens, (-1, found.tokens.shape[2])))
    scores = found.scores.numpy().reshape(-1).tolist()
    references = batch["captions"].to_list()
    for index, image_id in enumerate(batch["image_id"].numpy()):
        key = image_id.decode()
        rows = range(index * beam, (index + 1) * beam)
        predictions.captions[key] = [Caption(captions[i], scores[i]) for i in rows]
        standardized = text.standardize_all([raw.decode() for raw in references[index]])
        predictions.references[key] = [caption for caption in standardized if caption]
        predictions.paths[key] = batch["path"][index].numpy().decode("utf-8", "surrogateescape")


def score(predictions: Predictions) -> metrics.Scores:
    """Scores the best caption of each photo that has a real caption of at least one word."""
    references = {key: found for key, found in predictions.references.items() if found}
    if not references:
        raise UserError("the split holds no caption with a word in it: nothing can be scored")
    hypotheses = {key: predictions.captions[key][0].caption for key in references}
    return metrics.score(references, hypotheses)


def evaluate_split(config: ConfigDict, workdir: str, split: str) -> metrics.Scores:
    """Captions and scores a split with the trained decoder.

    Writes metrics.json, predictions.json, references.json and report.html to
    `WORKDIR/eval/SPLIT`, and pictures of the attention on a few photos to its `attention/`.

    Raises:
      UserError: no such split, no finished records, or nothing trained.
    """
    info = records.read_info(config.records.dir)
    if config.records.skip_damaged:
        info = corruption.leave_out(config.records.dir, info, split)
    info.num_images(split)
    tokenizer = text.Tokenizer(records.read_vocabulary(config.records.dir), config.text.max_length)
    decoder = checkpoints.load_decoder(config, workdir, info)
    predictions = predict(decoder, config, info, split, tokenizer, show_progress=True)
    scores = score(predictions)
    folder = os.path.join(workdir, "eval", split)
    _write(config, folder, split, predictions, scores)
    samples = _best_and_worst(config, info, split, predictions, scores)
    attention_maps.write(os.path.join(folder, "attention"), decoder, tokenizer, info, samples)
    return scores


def _best_and_worst(config, info, split, predictions, scores) -> list[tuple]:
    """What `attention_maps.write` draws: the photos with the highest and the lowest CIDEr."""
    ranked = sorted(scores.per_image, key=lambda key: (-scores.per_image[key]["cider"], key))
    wanted = {*ranked[:_MAPS], *ranked[-_MAPS:]}
    samples = []
    for batch in input_pipeline.eval_dataset(config.records.dir, info, split, batch_size=_BATCH):
        for image_id, features in zip(batch["image_id"].numpy(), batch["features"], strict=True):
            if (key := image_id.decode()) in wanted:
                path = os.path.join(config.dataset.dir, predictions.paths[key])
                samples.append((key, path, features, predictions.captions[key][0].caption))
    return samples


def _write(
    config: ConfigDict, folder: str, split: str, predictions: Predictions, scores: metrics.Scores
) -> None:
    os.makedirs(folder, exist_ok=True)
    settings = {
        "split": split,
        "beam_size": config.decode.beam_size,
        "length_penalty": config.decode.length_penalty,
    }
    best = [
        {"image_id": key, "caption": found[0].caption, "score": found[0].score}
        for key, found in predictions.captions.items()
    ]
    filesystem.write_json(
        os.path.join(folder, "predictions.json"), best, indent=1, ensure_ascii=False
    )
    filesystem.write_json(
        os.path.join(folder, "references.json"),
        predictions.references,
        indent=1,
        ensure_ascii=False,
    )
    filesystem.write_json(
        os.path.join(folder, "metrics.json"),
        {**scores.as_dict(), **settings},
        indent=1,
        ensure_ascii=False,
    )
    rows = [
        report.ReportRow(
            image_id=key,
            image_path=os.path.join(config.dataset.dir, predictions.paths[key]),
            caption=found[0].caption,
            score=found[0].score,
            references=tuple(predictions.references[key]),
            scores=dict(scores.per_image.get(key, {})),
            alternatives=tuple((other.caption, other.score) for other in found[1:]),
        )
        for key, found in predictions.captions.items()
    ]
    report.write(
        os.path.join(folder, "report.html"),
        title=f"{config.dataset.name} {split}",
        rows=rows,
        scores=scores.as_dict(),
        settings=settings,
    )
