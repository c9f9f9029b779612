"""The SavedModel of a run: the captioner's graph with what serves and describes it."""

from __future__ import annotations

import os
from collections.abc import Sequence

import tensorflow as tf
from ml_collections import ConfigDict

from imcap import config as config_lib
from imcap import encoders, filesystem, records
from imcap.decoding import members, rerank
from imcap.errors import UserError
from imcap.exporting import export_check, ready_model
from imcap.metrics import files
from imcap.records import staging
from imcap.reports import model_card
from imcap.serving import model_metadata, warmup_requests
from imcap.serving.caption_model import CaptionModel
from imcap.training import checkpoints, initial_vectors

METADATA = model_metadata.PATH


def export_model(
    config: ConfigDict,
    workdir: str,
    checkpoint: Sequence[str] = (checkpoints.BEST,),
    *,
    check: bool = False,
) -> str:
    """Exports the trained captioner, or an ensemble, to the next free `WORKDIR/export/{version}`.

    Args:
      config: resolved.
      workdir: the run's folder.
      checkpoint: which weights; see `members.find`.
      check: compare the export with the model in a fresh process and measure it there;
        MODEL_CARD.md gets the figures, and an export with other captions is not kept.

    Returns:
      The folder: a SavedModel with MODEL_CARD.md, warm-up requests for TensorFlow Serving and
      `METADATA`: the vocabulary's digest, and how images are prepared and captions searched.

    Raises:
      UserError: nothing was trained, there is no such checkpoint, it is of another vocabulary or
        encoder, config.encoder would give other features than the records hold, or as
        `neighbor_files.read_or_build` where captions are reranked, or `export_check.run`.
    """
    model, info, found = _build_model(config, workdir, checkpoint)
    card = _render_card(config, workdir, model, info, found)
    dataset = config.dataset if check else None
    return _write(model, config.decode, os.path.join(workdir, "export"), info, card, dataset)


def write_ready_model(
    config: ConfigDict, workdir: str, folder: str, checkpoint: Sequence[str] = (checkpoints.BEST,)
) -> None:
    """Writes what captions images without a SavedModel: `ready_model.load` reads it.

    Args:
      config: resolved.
      workdir: the run's folder.
      folder: to write; must not exist.
      checkpoint: which weights; see `members.find`.

    Raises:
      UserError: as `export_model` and `ready_model.write`.
    """
    ready_model.check_settings(folder, config)
    model, info, found = _build_model(config, workdir, checkpoint)
    records_folder = staging.local_folder(
        config.records.dir, config.records.cache_dir, with_shards=False
    )
    vocabulary = records.read_checked_vocabulary(records_folder, info)
    card = _render_card(config, workdir, model, info, found)
    ready_model.write(folder, config, info, vocabulary, model.decoder, card)


def _render_card(
    config: ConfigDict,
    workdir: str,
    model: CaptionModel,
    info: records.Info,
    found: Sequence[members.Member],
) -> str:
    return model_card.render(
        info,
        members=[_describe_member(member, config) for member in found],
        decode=config.decode,
        scores=files.scores_of(workdir, members.describe(found), config.decode),
        tuned=model.decoder.describe_encoding(),
    )


def _describe_member(member: members.Member, config: ConfigDict) -> model_card.Member:
    own = members.read_config(member, config)
    return model_card.Member(
        name=member.name,
        model=own.model,
        epochs=own.train.epochs,
        seed=own.seed,
        checkpoint=checkpoints.describe(member.workdir, member.chosen),
        word_vectors=initial_vectors.describe_run(member.workdir),
    )


def load_run(workdir: str, checkpoint: Sequence[str] = (checkpoints.BEST,)) -> CaptionModel:
    """Returns a run's captioner, built of its config and its weights instead of an export.

    Args:
      workdir: the run's folder, with its config.json and, where that says so, its records.
      checkpoint: which weights; see `members.find`.

    Raises:
      UserError: `workdir` is no run's folder, or as `export_model`.
    """
    config = config_lib.read(workdir)
    if config is None:
        raise UserError(
            f"{workdir} is not a run's folder: it has no {config_lib.CONFIG_JSON}. --checkpoint "
            "chooses among the weights of a run; an exported model has only one"
        )
    model, *_ = _build_model(config_lib.resolve(config, workdir), workdir, checkpoint)
    return model


def _build_model(
    config: ConfigDict, workdir: str, checkpoint: Sequence[str]
) -> tuple[CaptionModel, records.Info, list[members.Member]]:
    """Returns a run's captioner, its records' info.json, and which weights it has."""
    records_config = config.records
    folder = staging.local_folder(records_config.dir, records_config.cache_dir, with_shards=False)
    info = records.read_info(folder)
    info.check_encoder(folder, config.encoder)  # Before the weights are read, which takes longer.
    encoder = encoders.build(config.encoder)
    info.check_encoder(folder, config.encoder, encoder.digest())
    # The search may give longer captions than training saw; `score` has to take them whole.
    max_length = max(info.text["max_length"], config.decode.max_length)
    tokenizer = records.read_tokenizer(folder, info, max_length)
    # The encoder's file may lie elsewhere now: its weights were compared with the records' above.
    config_lib.check_run(config, workdir, free=("encoder.name", "encoder.weights"))
    found = members.find(workdir, checkpoint)
    decoder = members.load(found, config, info)
    reranker = rerank.build(
        config.decode,
        workdir,
        info,
        lambda: staging.local_folder(records_config.dir, records_config.cache_dir),
        decoder,
        skip_corrupted=records_config.skip_corrupted,
    )
    return CaptionModel(encoder, decoder, tokenizer, info, config.decode, reranker), info, found


def _write(
    model: CaptionModel, decode: ConfigDict, folder: str, info: records.Info, card: str,
    dataset: ConfigDict | None,
) -> str:  # fmt: skip
    """Writes the next version below `folder`; returns its folder.

    `dataset`: of the images that it is checked with; None: it is not.
    """
    target = _next_version(folder)
    metadata = {
        "vocabulary_digest": info.vocabulary_digest,
        # A network's file is named without the folders of the machine that exported it.
        "encoder": {**info.encoder, "name": os.path.basename(info.encoder["name"])},
        "preprocessing": info.preprocessing,
        "feature_dtype": info.feature_dtype,
        "decode": decode.to_dict(),
    }
    if tuned := model.decoder.describe_encoding():
        metadata["tuned"] = tuned
    with filesystem.replacing(target) as temporary:
        tf.saved_model.save(model, temporary, signatures=model.signatures())
        os.makedirs(os.path.dirname(os.path.join(temporary, METADATA)), exist_ok=True)
        filesystem.write_json(os.path.join(temporary, METADATA), metadata, indent=1)
        path = os.path.join(temporary, warmup_requests.PATH)
        warmup_requests.write(path, info.preprocessing["image_size"])
        if dataset is not None:
            card += f"\n{export_check.run(temporary, model, dataset).describe()}"
        filesystem.write_text(os.path.join(temporary, "MODEL_CARD.md"), card)
    return target


def _next_version(folder: str) -> str:
    os.makedirs(folder, exist_ok=True)
    versions = [int(name) for name in os.listdir(folder) if name.isdigit()]
    return os.path.join(folder, str(max(versions, default=0) + 1))
