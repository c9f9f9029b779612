"""Captions for a whole split, their scores, and the files that report them."""

from __future__ import annotations

import os

from ml_collections import ConfigDict

from imcap import filesystem, input_pipeline, records, text
from imcap.decoding.predictions import Predictions, Predictor, score_predictions
from imcap.metrics.scores import Scores
from imcap.records import corruption
from imcap.reports import attention_maps, report
from imcap.training import checkpoints

_BATCH = 64  # Images decoded at a time.
_MAPS = 4  # Best and worst photos each whose attention is drawn.


def evaluate_split(config: ConfigDict, workdir: str, split: str) -> Scores:
    """Captions and scores a split with the trained decoder.

    Writes metrics.json, predictions.json, references.json and report.html to
    `WORKDIR/eval/SPLIT`, and pictures of the attention on a few photos to its `attention/`.

    Raises:
      UserError: no such split, no finished records, or nothing trained.
    """
    info = records.read_info(config.records.dir)
    if config.records.skip_corrupted:
        info = corruption.skip_corrupted(config.records.dir, info, split)
    info.num_images(split)
    tokenizer = text.Tokenizer(records.read_vocabulary(config.records.dir), config.text.max_length)
    decoder = checkpoints.load_decoder(config, workdir, info)
    predictor = Predictor(decoder, tokenizer, config.decode, config.records.dir, info)
    predictions = predictor.predict_split(split, show_progress=True)
    scores = score_predictions(predictions)
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
    config: ConfigDict, folder: str, split: str, predictions: Predictions, scores: Scores
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
