"""The SavedModel of a run: the captioner's graph with what serves and describes it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf
from ml_collections import ConfigDict

from imcap import config as config_lib
from imcap import encoders, filesystem, records
from imcap.decoding import members, rerank
from imcap.errors import UserError
from imcap.exporting import export_check, ready_model, variants, version_folder
from imcap.metrics import files
from imcap.records import staging
from imcap.reports import model_card
from imcap.serving.caption_model import CaptionModel
from imcap.training import checkpoints, initial_vectors


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
      `model_metadata.PATH`: the vocabulary's digest, how images are prepared, and captions found.

    Raises:
      UserError: nothing was trained, there is no such checkpoint, it is of another vocabulary or
        encoder, config.encoder would give other features than the records hold, or as
        `neighbor_files.read_or_build` where captions are reranked, or `export_check.run`.
    """
    run = _load(config, workdir, checkpoint)
    variant = variants.choose(config.export, run.encoder, encoders.batch_size(config.encoder))
    card = _render_card(config, workdir, run, variant.describe())
    dataset = config.dataset if check else None
    return _write(run, variant, config.decode, os.path.join(workdir, "export"), card, dataset)


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
    run = _load(config, workdir, checkpoint)
    records_folder = staging.local_folder(
        config.records.dir, config.records.cache_dir, with_shards=False
    )
    vocabulary = records.read_checked_vocabulary(records_folder, run.info)
    card = _render_card(config, workdir, run, ready_model.DTYPES)
    ready_model.write(folder, config, run.info, vocabulary, run.model.decoder, card)


def _render_card(config: ConfigDict, workdir: str, run: _Run, dtypes: str) -> str:
    return model_card.render(
        run.info,
        members=[_describe_member(member, config) for member in run.found],
        decode=config.decode,
        scores=files.scores_of(workdir, members.describe(run.found), config.decode),
        tuned=run.model.decoder.describe_encoding(),
        dtypes=dtypes,
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
    return _load(config_lib.resolve(config, workdir), workdir, checkpoint).model


class _Run(NamedTuple):
    """A run's captioner and what it is made of.

    Attributes:
      model: the captioner.
      encoder: its encoder.
      build: makes the captioner with another encoder.
      info: the records' info.json.
      found: which weights it has.
    """

    model: CaptionModel
    encoder: encoders.Encoder
    build: Callable[[Callable[[tf.Tensor], tf.Tensor]], CaptionModel]
    info: records.Info
    found: list[members.Member]


def _load(config: ConfigDict, workdir: str, checkpoint: Sequence[str]) -> _Run:
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

    def build(encoder: Callable[[tf.Tensor], tf.Tensor]) -> CaptionModel:
        return CaptionModel(encoder, decoder, tokenizer, info, config.decode, reranker)

    return _Run(build(encoder), encoder, build, info, found)


def _write(
    run: _Run, variant: variants.Variant, decode: ConfigDict, folder: str, card: str,
    dataset: ConfigDict | None,
) -> str:  # fmt: skip
    """Writes the next version below `folder`; returns its folder.

    `dataset`: of the images that it is checked with; None: it is not.
    """
    target, info = _next_version(folder), run.info
    saved = variants.build(variant, run.model, run.encoder, run.build)
    metadata = version_folder.describe(info, decode, run.model.decoder)
    metadata["export"] = variant._asdict()
    with filesystem.replacing(target) as temporary:
        version_folder.fill(temporary, saved, metadata)
        if dataset is not None:
            check = export_check.run(temporary, run.model, dataset, variant.tolerance())
            card += f"\n{check.describe()}"
        version_folder.write_card(temporary, card)
    return target


def _next_version(folder: str) -> str:
    os.makedirs(folder, exist_ok=True)
    versions = [int(name) for name in os.listdir(folder) if name.isdigit()]
    return os.path.join(folder, str(max(versions, default=0) + 1))
