"""A ready model: a folder of at most 20 MB that captions images after an install.

It holds what was trained (the decoder's weights, as float16) and what says how to use it, but not
the encoder, whose weights Keras fetches, or a file gives.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from imcap import config as config_lib
from imcap import encoders, filesystem, records, text
from imcap.decoders import tuned
from imcap.decoders.base import Decoder, DecoderLike
from imcap.decoding import rerank
from imcap.encoders.encoder import Encoder
from imcap.errors import UserError
from imcap.exporting import CARD, DIGESTS
from imcap.exporting.half_weights import halve
from imcap.serving.caption_model import CaptionModel
from imcap.serving.captioner import FunctionCaptioner

MAX_BYTES = 20_000_000
DTYPES = "the decoder's are stored as float16; computed as float32"  # For MODEL_CARD.md.
_CONFIG, _WEIGHTS = "config.json", "decoder.npz"
_FILES = (_CONFIG, records.INFO, records.VOCABULARY, _WEIGHTS, CARD)
_PARTS = ("encoder", "model", "decode")  # Of a config: what is needed to caption.
_IMAGENET = "imagenet"


def write(
    folder: str,
    config: ConfigDict,
    info: records.Info,
    vocabulary: Sequence[str],
    decoder: DecoderLike,
    card: str,
) -> None:
    """Writes a ready model.

    Args:
      folder: must not exist.
      config: of the run, resolved.
      info: of its records.
      vocabulary: the lines of vocab.txt.
      decoder: trained.
      card: the content of MODEL_CARD.md.

    Raises:
      UserError: as `check_settings`; or the folder cannot be written, or the model is an ensemble,
        too large, or has weights beyond float16's range.
    """
    check_settings(folder, config)
    if not isinstance(decoder, Decoder):
        raise UserError("a ready model has one decoder: give one --checkpoint")
    weights = _halve(decoder)
    with filesystem.replacing(os.path.normpath(folder)) as temporary:
        os.makedirs(temporary)
        settings = {part: config[part].to_dict() for part in _PARTS}
        _remove_paths(settings)
        filesystem.write_json(os.path.join(temporary, _CONFIG), settings, indent=1, sort_keys=True)
        content = records.format_info(_without_paths(info))
        filesystem.write_text(os.path.join(temporary, records.INFO), content)
        lines = "".join(f"{line}\n" for line in vocabulary)
        filesystem.write_text(os.path.join(temporary, records.VOCABULARY), lines)
        filesystem.write_arrays(os.path.join(temporary, _WEIGHTS), weights)
        filesystem.write_text(os.path.join(temporary, CARD), card)
        _check_size(temporary)
        # SHA-256, which finds what is damaged, but not who did it.
        digests = {name: _digest(os.path.join(temporary, name)) for name in _FILES}
        filesystem.write_json(os.path.join(temporary, DIGESTS), digests, indent=1)


def check_settings(folder: str, config: ConfigDict) -> None:
    """Raises UserError if the folder exists, or the model would rerank."""
    if os.path.lexists(folder):
        raise UserError(f"{folder} exists: name a folder that does not, or remove it")
    if config.decode.rerank != rerank.NONE:
        raise UserError(
            f"config.decode.rerank={config.decode.rerank!r} needs captions of the training images, "
            "which a ready model does not hold: give --config.decode.rerank=none"
        )


def _halve(decoder: Decoder) -> dict[str, np.ndarray]:
    """Returns the decoder's weights by name, as float16."""
    return {
        name: halve(name, weight.numpy())
        for name, weight in sorted(decoder.weights_by_name().items())
    }


def _remove_paths(settings: dict[str, dict]) -> None:
    """Removes the paths of the machine that trained from a config's parts."""
    encoder, model = settings["encoder"], settings["model"]
    is_own = encoder["name"] in encoders.ENCODERS or encoders.is_file_name(encoder["name"])
    encoder["name"] = os.path.basename(encoder["name"])
    encoder["weights"] = "" if is_own else _IMAGENET
    # Only the start of the training depends on them.
    model["word_vectors"], model["train_word_vectors"] = "", True


def _without_paths(info: records.Info) -> records.Info:
    lengths = {
        name: {"shard_lengths": split["shard_lengths"]} for name, split in info.splits.items()
    }
    return dataclasses.replace(
        info,
        splits=lengths,
        encoder={**info.encoder, "name": os.path.basename(info.encoder["name"])},
        dataset={"name": info.dataset["name"]},
        problems={},
    )


def _check_size(folder: str) -> None:
    size = sum(os.path.getsize(os.path.join(folder, name)) for name in _FILES)
    if size > MAX_BYTES:
        raise UserError(
            f"the ready model would take {size / 1e6:.1f} MB, more than {MAX_BYTES / 1e6:.0f}: a "
            "smaller decoder, or no layers of the encoder that are trained with it"
        )


def _digest(path: str) -> str:
    return hashlib.sha256(filesystem.read_bytes(path)).hexdigest()


class Parts(NamedTuple):
    """A ready model in memory.

    Attributes:
      model: the captioner.
      info: of the records that it was trained on.
      decode: a config's `decode` part.
    """

    model: CaptionModel
    info: records.Info
    decode: ConfigDict


def load(folder: str, weights: str = "", *, batch_size: int = 32) -> FunctionCaptioner:
    """Returns the captioner that a ready model makes.

    Args:
      folder: as `find_ready_model` returns it.
      weights: of the encoder: a Keras weights file of the network that MODEL_CARD.md names (or,
        where that is a saved network, its file); empty: Keras fetches ImageNet's, once.
      batch_size: the most images that one call of the model gets.

    Raises:
      UserError: a file of the model is missing or not what was written, or the encoder's weights
        are missing, cannot be fetched, or are others than it was trained on.
    """
    model = load_parts(folder, weights).model
    return FunctionCaptioner(folder, model.signatures(), model, batch_size=batch_size)


def load_parts(folder: str, weights: str = "") -> Parts:
    """Returns what `load` makes the captioner of; arguments and errors are those of `load`."""
    check_digests(folder)
    info_path, vocabulary_path = (
        os.path.join(folder, name) for name in (records.INFO, records.VOCABULARY)
    )
    info = records.parse_info(_read_text(info_path), info_path)
    config = config_lib.default()
    settings = filesystem.read_json(os.path.join(folder, _CONFIG)) or {}
    for part in _PARTS:
        config[part].update(
            {key: settings[part][key] for key in config[part] if key in settings[part]}
        )
    vocabulary = text.parse_vocabulary(_read_text(vocabulary_path), vocabulary_path)
    encoder = _build_encoder(config.encoder, info, weights)
    decoder = _build_decoder(config, info, folder)
    max_length = max(info.text["max_length"], config.decode.max_length)
    tokenizer = text.Tokenizer(vocabulary, max_length)
    return Parts(
        CaptionModel(encoder, decoder, tokenizer, info, config.decode), info, config.decode
    )


def read_card(folder: str) -> str:
    """Returns MODEL_CARD.md."""
    return _read_text(os.path.join(folder, CARD))


def check_digests(folder: str) -> None:
    """Raises UserError if a file of a ready model is missing or not what was written."""
    digests = filesystem.read_json(os.path.join(folder, DIGESTS))
    for name in _FILES:
        path = os.path.join(folder, name)
        known = digests.get(name) if isinstance(digests, Mapping) else None
        if not os.path.isfile(path) or _digest(path) != known:
            raise UserError(f"{path} is missing or corrupted: install imcap again")


def _read_text(path: str) -> str:
    return filesystem.read_bytes(path).decode("utf-8")


def _build_encoder(config: ConfigDict, info: records.Info, weights: str) -> Encoder:
    name, wanted = config.name, info.encoder["weights_digest"]
    if weights:
        config["name" if encoders.is_file_name(name) else "weights"] = weights
    elif config.weights != _IMAGENET:
        raise UserError(f"this model's encoder is {name}: give its file, --weights=FILE")
    try:
        with contextlib.redirect_stdout(sys.stderr):  # Keras prints the progress of a download.
            encoder = encoders.build(config, wanted)
    except UserError as error:
        raise UserError(_explain(str(error), name, weights)) from error
    if encoder.digest() != wanted and weights:
        raise UserError(
            f"--weights={weights}: other weights of {name} than the model was trained on"
        )
    if encoder.digest() != wanted:
        logging.warning("Keras' ImageNet weights of %s are not those of the training", name)
    return encoder


def _explain(message: str, name: str, weights: str) -> str:
    """Returns the message of weights that cannot be had, for those who have no config."""
    if weights:
        return message.replace("config.encoder.weights=", "--weights=")
    reason = message.partition("cannot be built: ")[2].partition(". Without access")[0]
    return (
        f"the ImageNet weights of {name} are not on this machine and cannot be downloaded "
        f"({reason or message}): give Keras' weights file of {name} without top, --weights=FILE"
    )


def _build_decoder(config: ConfigDict, info: records.Info, folder: str) -> Decoder:
    decoder = tuned.build_for_weights(config.model, info, config.encoder)
    weights, path = decoder.weights_by_name(), os.path.join(folder, _WEIGHTS)
    values = filesystem.read_arrays(path) or {}
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    if {name: value.shape for name, value in values.items()} != shapes:
        raise UserError(f"{path} is not of the decoder that {_CONFIG} describes")
    for name, weight in weights.items():
        weight.assign(values[name].astype(np.float32))
    return decoder
