"""The checkpoints that captions are made with: one, or several as an ensemble."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from absl import logging
from ml_collections import ConfigDict

from imcap import config as config_lib
from imcap import hashing, records
from imcap.decoders import tuned
from imcap.decoders.base import Decoder, DecoderLike
from imcap.decoding.ensemble import Ensemble
from imcap.errors import UserError
from imcap.records import staging
from imcap.training import checkpoints

_MAX_NAME = 100  # Characters of an evaluation's folder.


class Member(NamedTuple):
    """A checkpoint that was asked for.

    Attributes:
      wanted: as it was asked for.
      workdir: of the run that it is of.
      is_own: whether that is the run of the command's workdir.
      name: `best`, `last` or such as `epoch-7`; of another run such as `RUN` and `RUN-epoch-7`.
      chosen: its files.
    """

    wanted: str
    workdir: str
    is_own: bool
    name: str
    chosen: checkpoints.Chosen


def find(workdir: str, wanted: Sequence[str]) -> list[Member]:
    """Returns checkpoints of one run or of several.

    Args:
      workdir: the command's.
      wanted: of each what `checkpoints.choose` takes, the folder of another run, whose best weights
        are meant, or the folder of a checkpoint, such as `RUN/checkpoints/epoch-7`.

    Raises:
      UserError: one is not there or given twice, or none is given.
    """
    if not wanted:
        raise UserError("--checkpoint is given without a value")
    found = [_find(workdir, one) for one in wanted]
    for number, member in enumerate(found):
        if member.chosen in [other.chosen for other in found[:number]]:
            raise UserError(f"--checkpoint={member.wanted}: {member.chosen.path} is given twice")
    return found


def _find(workdir: str, wanted: str) -> Member:
    run, name = _split(workdir, wanted)
    is_own = os.path.realpath(run) == os.path.realpath(workdir)
    chosen = checkpoints.choose(workdir if is_own else run, name)
    label = checkpoints.BEST if name == checkpoints.BEST else chosen.name
    if is_own:
        return Member(wanted, workdir, is_own, label, chosen)
    relative = os.path.relpath(run, os.path.dirname(os.path.abspath(workdir)))
    label = relative.replace(os.sep, "_") + ("" if name == checkpoints.BEST else f"-{label}")
    return Member(wanted, run, is_own, label, chosen)


def _split(workdir: str, wanted: str) -> tuple[str, str]:
    """Returns the run's folder and what `checkpoints.choose` calls the checkpoint."""
    is_name = wanted in (checkpoints.BEST, checkpoints.LAST) or wanted.isdecimal()
    if is_name or (os.sep not in wanted and not os.path.isdir(wanted)):
        return workdir, wanted
    if not os.path.isdir(wanted):
        raise UserError(f"--checkpoint={wanted}: there is no such folder")
    parent, name = os.path.split(os.path.abspath(wanted))
    if os.path.basename(parent) == checkpoints.FOLDER:
        return os.path.dirname(parent), name.removeprefix("epoch-")
    return wanted, checkpoints.BEST


def name(members: Sequence[Member]) -> str:
    """Returns what the evaluation of these checkpoints is called; empty for a run's best weights,
    with which it is called by its split alone."""
    if _is_single(members) and members[0].name == checkpoints.BEST:
        return ""
    joined = "+".join(member.name for member in members)
    if len(joined) <= _MAX_NAME:
        return joined
    return f"ensemble-of-{len(members)}-{hashing.digest_of(joined)[:8]}"


def _is_single(members: Sequence[Member]) -> bool:
    return len(members) == 1 and members[0].is_own


def describe(members: Sequence[Member]) -> dict[str, Any]:
    """Returns which weights these are, for metrics.json.

    Of one checkpoint of the command's own run, what `checkpoints.describe` returns. Otherwise
    `checkpoint` is their name, and `members` holds a line for each.

    Raises:
      UserError: a checkpoint is corrupted.
    """
    if _is_single(members):
        return checkpoints.describe(members[0].workdir, members[0].chosen)
    lines = []
    for member in members:
        described = checkpoints.describe(member.workdir, member.chosen)
        numbers = [f"{key} {described[key]}" for key in ("epoch", "step") if key in described]
        lines.append(", ".join([member.name, *numbers]))
    return {"checkpoint": name(members), "members": lines}


def read_config(member: Member, config: ConfigDict) -> ConfigDict:
    """Returns the resolved config that a member was trained with; `config` is the command's.

    Raises:
      UserError: the run of a member has no config, or it is corrupted.
    """
    if member.is_own:
        return config
    found = config_lib.read(member.workdir)
    if found is None:
        raise UserError(
            f"--checkpoint={member.wanted}: {member.workdir} has no {config_lib.CONFIG_JSON}, "
            "which says of what model its weights are"
        )
    return config_lib.resolve(found, member.workdir)


def load(members: Sequence[Member], config: ConfigDict, info: records.Info) -> DecoderLike:
    """Returns the decoder of one member, or the ensemble of several.

    Args:
      members: as `find` returns them.
      config: the command's, resolved.
      info: of the records whose images are captioned.

    Raises:
      UserError: a checkpoint is corrupted, or of another model, vocabulary or encoder.
    """
    loaded = [_load(member, config, info) for member in members]
    for decoder in loaded:
        decoder.prepare_search()
    return loaded[0] if len(loaded) == 1 else Ensemble(loaded)


def _load(member: Member, config: ConfigDict, info: records.Info) -> Decoder:
    if member.is_own:
        return checkpoints.load_decoder(
            config.model, member.workdir, info, member.chosen, config.encoder
        )
    own = read_config(member, config)
    advice = f"leave out --checkpoint={member.wanted}"
    _check_encoder(member, own, info, advice)
    decoder = tuned.build_for_weights(own.model, info, own.encoder)
    checkpoints.restore_weights(member.chosen.path, decoder, info.vocabulary_digest, advice)
    return decoder


def _check_encoder(member: Member, own: ConfigDict, info: records.Info, advice: str) -> None:
    """Refuses a member that was trained on features of another encoder than the records hold."""
    digest = _weights_digest(own.records, info)
    made = {"encoder": info.encoder, "preprocessing": info.preprocessing}
    difference = records.settings_difference(made, records.encoder_settings(own.encoder, digest))
    if difference:
        part, key, before, value = difference
        raise UserError(
            f"{member.chosen.path} was trained on features of {part} {key}={value!r}, but the "
            f"records have {before!r}: {advice}"
        )


def _weights_digest(own: ConfigDict, info: records.Info) -> str:
    """Returns that of the encoder of a run's records (a config's `records` part); of `info` where
    they are not there."""
    try:
        folder = staging.local_folder(own.dir, own.cache_dir, with_shards=False)
        return records.read_info(folder).encoder["weights_digest"]
    except UserError:
        logging.info("%s: not there, so its encoder's weights are not compared", own.dir)
        return info.encoder["weights_digest"]
