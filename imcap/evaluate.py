"""Captions for a whole split, their scores, and the files that report them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from imcap import config as config_lib
from imcap import filesystem, records
from imcap.decoding import members, rerank, views
from imcap.decoding.predictions import Predictions, Predictor, score_predictions
from imcap.metrics import files, sentence_encoder
from imcap.metrics.diversity import measure_diversity
from imcap.metrics.scores import Scores, build_optional_scorers
from imcap.records import corruption, staging
from imcap.reports import attention_maps, caption_sheet, report
from imcap.training import checkpoints

_MAPS = 4  # Attention maps are drawn for this many of the best and of the worst captions.


def report_path(
    config: ConfigDict,
    workdir: str,
    split: str,
    checkpoint: Sequence[str] = (checkpoints.BEST,),
) -> str:
    """Returns where `evaluate_split` writes its report."""
    found = members.find(workdir, checkpoint)
    return os.path.join(_folder(workdir, split, found, config.decode), "report.html")


def _folder(workdir: str, split: str, found: Sequence[members.Member], decode: ConfigDict) -> str:
    weights = [name] if (name := members.name(found)) else []
    how = [*rerank.names(decode.rerank), *views.names(decode.both_views)]
    return files.folder(workdir, split, *weights, *how)


def evaluate_split(
    config: ConfigDict,
    workdir: str,
    split: str,
    checkpoint: Sequence[str] = (checkpoints.BEST,),
) -> Scores:
    """Captions and scores a split with the trained decoder, or with an ensemble of several.

    Writes metrics.json, predictions.json, references.json, report.html and captions.png (the first
    images) to `WORKDIR/eval/SPLIT`, and attention maps of a few images to its `attention/`. Those
    of other weights than the best and of reranked captions go to folders beside it, such as
    `WORKDIR/eval/SPLIT-epoch-7`, `WORKDIR/eval/SPLIT-best+RUN` and `WORKDIR/eval/SPLIT-consensus`.

    Args:
      config: resolved.
      workdir: the run's folder.
      split: which the records hold.
      checkpoint: which weights; see `members.find`.

    Raises:
      UserError: no such split or checkpoint, no finished records, nothing trained, trained with
        another vocabulary or encoder, config.encoder would give other features than the records
        hold, or as `views.keys`, or as `neighbor_files.read_or_build` where captions are reranked.
    """
    folder = staging.local_folder(config.records.dir, config.records.cache_dir)
    info = records.read_info(folder)
    info.require_split(split)
    info.check_encoder(folder, config.encoder)
    keys = views.keys(info, split, config.decode.both_views)
    whole = info
    if config.records.skip_corrupted:
        info = corruption.skip_corrupted(folder, info, split)
    tokenizer = records.read_tokenizer(folder, info)
    config_lib.check_run(config, workdir)
    optional_scorers = build_optional_scorers(config.eval)
    found = members.find(workdir, checkpoint)
    decoder = members.load(found, config, info)
    skip = config.records.skip_corrupted
    reranker = rerank.build(
        config.decode, workdir, whole, lambda: folder, decoder, skip_corrupted=skip
    )
    decoder = views.prepare(decoder, config.decode, info.feature_grid)
    predictor = Predictor(decoder, tokenizer, config.decode, folder, info, reranker, keys)
    predictions = predictor.predict_split(split, show_progress=True)
    scores = score_predictions(predictions, optional_scorers)
    target = _folder(workdir, split, found, config.decode)
    settings = {
        "split": split,
        **members.describe(found),
        "beam_size": config.decode.beam_size,
        "length_penalty": config.decode.length_penalty,
    }
    if config.decode.rerank != rerank.NONE:
        settings["rerank"] = config.decode.rerank
    if config.decode.both_views:
        settings["both_views"] = True
    if config.eval.similarity_encoder:
        settings["similarity_encoder"] = sentence_encoder.identify(config.eval.similarity_encoder)
    _write_json_files(target, predictions, scores, settings)
    image_paths = {
        image_id: records.image_path(path, config.dataset.dir)
        for image_id, path in predictions.paths.items()
    }
    title = f"{config.dataset.name} {os.path.basename(target)}"
    chosen = _best_and_worst(scores)
    samples = _read_samples(folder, info, split, predictions, image_paths, chosen, keys)
    maps = attention_maps.write_attention_maps(
        os.path.join(target, "attention"),
        decoder,
        tokenizer,
        decoder.grid(info.feature_grid),
        samples,
    )
    _write_report(target, title, predictions, scores, settings, image_paths, maps)
    return scores


def _write_json_files(
    folder: str, predictions: Predictions, scores: Scores, settings: Mapping[str, Any]
) -> None:
    os.makedirs(folder, exist_ok=True)
    best = [
        {"image_id": image_id, "caption": found[0].caption, "score": found[0].score}
        for image_id, found in predictions.captions.items()
    ]
    contents = {
        files.PREDICTIONS_FILE: best,
        files.REFERENCES_FILE: predictions.references,
        files.METRICS_FILE: {**scores.as_dict(), **settings, files.INTERVALS: scores.intervals},
    }
    for name, content in contents.items():
        filesystem.write_json(os.path.join(folder, name), content, indent=1, ensure_ascii=False)


def _write_report(
    folder: str,
    title: str,
    predictions: Predictions,
    scores: Scores,
    settings: Mapping[str, Any],
    image_paths: Mapping[str, str],
    maps: Mapping[str, str],
) -> None:
    images = [
        report.ReportImage(
            image_id=image_id,
            image_path=image_paths[image_id],
            caption=best.caption,
            score=best.score,
            references=tuple(predictions.references[image_id]),
            scores=scores.per_image.get(image_id, {}),
            alternatives=others,
            similarities=scores.per_reference.get(image_id, {}).get("similarity_best", ()),
            attention_path=maps.get(image_id, ""),
        )
        for image_id, (best, *others) in predictions.captions.items()
    ]
    diversity = measure_diversity({image.image_id: image.caption for image in images})
    report.write_report(
        os.path.join(folder, "report.html"),
        title=title,
        images=images,
        scores={**scores.as_dict(), **diversity},
        intervals=scores.intervals,
        settings={
            name: "; ".join(value) if isinstance(value, list) else value
            for name, value in settings.items()
        },
    )
    caption_sheet.draw_caption_sheet(images, os.path.join(folder, "captions.png"))


def _best_and_worst(scores: Scores) -> list[str]:
    """Returns the image_ids with the highest and the lowest CIDEr."""
    ranked = sorted(scores.per_image, key=lambda key: (-scores.per_image[key]["cider"], key))
    return list(dict.fromkeys([*ranked[:_MAPS], *ranked[-_MAPS:]]))


def _read_samples(
    folder: str,
    info: records.Info,
    split: str,
    predictions: Predictions,
    image_paths: Mapping[str, str],
    image_ids: list[str],
    keys: Sequence[str],
) -> list[attention_maps.Sample]:
    """Returns what attention maps are drawn of; only the images' own shards are read again."""
    indices = {image_id: index for index, image_id in enumerate(predictions.captions)}
    wanted = {indices[image_id] for image_id in image_ids}
    features = attention_maps.read_features(folder, info, split, wanted, keys)
    return [
        attention_maps.Sample(
            image_id,
            image_paths[image_id],
            features[indices[image_id]],
            predictions.captions[image_id][0].caption,
        )
        for image_id in image_ids
    ]
