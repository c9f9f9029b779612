"""Networks by `config.encoder.name`, with their weights, cut at the layer that is asked for."""

from __future__ import annotations

import importlib
import os
import warnings
import zipfile
from collections.abc import Callable

import keras
import tensorflow as tf
from ml_collections import ConfigDict

from imcap.encoders import ENCODERS, FILE_EXTENSIONS, is_file_name
from imcap.errors import UserError, first_line
from imcap.registry import Registry

# Images [batch, side, side, 3], RGB in 0..255, to what a network takes.
Preprocess = Callable[[tf.Tensor], tf.Tensor]


def load(config: ConfigDict) -> tuple[keras.Model, Preprocess]:
    """Builds or loads the network that a config's `encoder` part describes.

    Returns:
      The network as Keras has it, not trainable, cut at `config.layer` and pooled as
      `config.pooling` says; and its preprocessing.

    Raises:
      UserError: an unknown name or layer, or weights that are missing or do not fit.
    """
    if not config.weights:
        keras.utils.set_random_seed(config.seed)  # Not pretrained, yet the same every time.
    if is_file_name(config.name):
        network, preprocess = _load_file(config.name), tf.identity
    elif config.name in ENCODERS:
        network, preprocess = ENCODERS.load(config.name)(config), tf.identity
        _load_weights(network, config)
    else:
        network, preprocess = _build_application(config)
    network = _cut(network, config)
    network.trainable = False
    return network, preprocess


def _build_application(config: ConfigDict) -> tuple[keras.Model, Preprocess]:
    constructor = _application(config.name)
    network = _construct(constructor, config, include_top=False)
    if config.layer and config.layer not in [layer.name for layer in network.layers]:
        network = _construct(constructor, config, include_top=True)
    if config.weights != "imagenet":
        _load_weights(network, config)
    return network, importlib.import_module(constructor.__module__).preprocess_input


def _application(name: str) -> Callable[..., keras.Model]:
    known = [attribute for attribute in dir(keras.applications) if attribute[0].isupper()]
    if name not in known:
        entries = {**ENCODERS, **dict.fromkeys(known, "keras.applications")}
        advice = Registry(ENCODERS.setting, entries).advice(name)
        raise UserError(
            f"{ENCODERS.setting}={name!r}: give a saved Keras file "
            f"({', '.join(FILE_EXTENSIONS)}), or {advice}"
        )
    return getattr(keras.applications, name)


def _construct(
    constructor: Callable[..., keras.Model], config: ConfigDict, include_top: bool
) -> keras.Model:
    weights = "imagenet" if config.weights == "imagenet" else None
    shape = (config.image_size, config.image_size, 3)
    try:
        return constructor(include_top=include_top, weights=weights, input_shape=shape)
    except Exception as error:  # Keras raises bare Exceptions for a failed download.
        message = first_line(error)
        raise UserError(
            f"config.encoder: {config.name} at image_size={config.image_size} with "
            f"weights={config.weights!r} cannot be built: {message}. Without access to the "
            "internet, give the path of a weights file: --config.encoder.weights=FILE"
        ) from error


def _load_file(path: str) -> keras.Model:
    if not os.path.isfile(path):
        raise UserError(f"config.encoder.name={path}: no such file")
    try:
        return keras.models.load_model(path, compile=False)
    except (ValueError, OSError, TypeError, KeyError) as error:
        message = first_line(error)
        raise UserError(f"config.encoder.name={path} is no Keras model: {message}") from error


def _load_weights(network: keras.Model, config: ConfigDict) -> None:
    if not config.weights:
        return
    if not os.path.isfile(config.weights):
        hint = " (`imcap pretrain` makes it)" if config.name in ENCODERS else ""
        raise UserError(f"config.encoder.weights={config.weights}: no such file{hint}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras warns of each layer that does not fit.
            network.load_weights(config.weights)
    except (ValueError, OSError, KeyError, zipfile.BadZipFile) as error:
        message = first_line(error)
        raise UserError(
            f"config.encoder.weights={config.weights} does not fit {config.name}: {message}"
        ) from error


def _cut(network: keras.Model, config: ConfigDict) -> keras.Model:
    """Ends the network at the named layer, and averages over positions where pooling says so."""
    if len(network.inputs) != 1 or (len(network.outputs) != 1 and not config.layer):
        raise UserError(
            f"config.encoder.name={config.name} has {len(network.inputs)} inputs and "
            f"{len(network.outputs)} outputs: it must take images alone, and of several outputs "
            "config.encoder.layer names one"
        )
    output = network.outputs[0]
    if config.layer:
        names = [layer.name for layer in network.layers]
        if config.layer not in names:
            raise UserError(
                f"config.encoder.layer={config.layer!r} is no layer of {config.name}; "
                f"its last ones are {', '.join(names[-8:])}"
            )
        output = network.get_layer(config.layer).output
    if config.pooling == "avg" and len(output.shape) == 4:
        output = keras.layers.GlobalAveragePooling2D()(output)
    return keras.Model(network.inputs[0], output)
