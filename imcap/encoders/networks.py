"""Networks by name: any keras.applications network, any saved Keras file, and imcap's own CNN."""

from __future__ import annotations

import importlib
import os
import warnings
import zipfile

import keras
import ml_collections
import tensorflow as tf

from imcap.errors import UserError


def load(config: ml_collections.ConfigDict) -> tuple[keras.Model, object]:
    """Returns the network as Keras has it, cut at the asked layer, and its preprocessing.

    Raises:
      UserError: as `build` does.
    """
    if not config.weights:
        keras.utils.set_random_seed(config.seed)  # Not pretrained, yet the same every time.
    if os.path.splitext(config.name)[1] in (".keras", ".h5"):
        network, preprocess = _load_file(config.name), tf.identity
    elif config.name == "custom_cnn":
        network, preprocess = custom_cnn(config), tf.identity
        _load_weights(network, config)
    else:
        network, preprocess = _build_application(config)
    network = _cut(network, config)
    network.trainable = False
    return network, preprocess


def custom_cnn(config: ml_collections.ConfigDict) -> keras.Model:
    """imcap's own CNN: stages of residual 3x3 convolutions, each halving the side.

    Takes images float32 [batch, image_size, image_size, 3] in 0..255 and returns
    [batch, rows, columns, channels].
    """
    layers = keras.layers
    inputs = keras.Input((config.image_size, config.image_size, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1.0)(inputs)
    for stage in range(config.stages):
        channels = config.width * 2**stage
        x = layers.Conv2D(channels, 3, strides=2, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
        y = layers.Conv2D(channels, 3, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.Add()([x, layers.BatchNormalization()(y)]))
    return keras.Model(inputs, x, name="custom_cnn")


def _build_application(config: ml_collections.ConfigDict) -> tuple[keras.Model, object]:
    constructor = getattr(keras.applications, config.name, None)
    if not callable(constructor):
        names = [n for n in dir(keras.applications) if n[0].isupper()]
        raise UserError(
            f"config.encoder.name={config.name!r} is no keras.applications network, custom_cnn "
            f"or Keras file (.keras, .h5); the networks are {', '.join(names)}"
        )
    module = importlib.import_module(constructor.__module__)
    network = _construct(constructor, config, include_top=False)
    if config.layer and config.layer not in [layer.name for layer in network.layers]:
        network = _construct(constructor, config, include_top=True)
    if config.weights and config.weights != "imagenet":
        _load_weights(network, config)
    return network, module.preprocess_input


def _construct(constructor, config: ml_collections.ConfigDict, include_top: bool) -> keras.Model:
    weights = "imagenet" if config.weights == "imagenet" else None
    shape = (config.image_size, config.image_size, 3)
    try:
        return constructor(include_top=include_top, weights=weights, input_shape=shape)
    except Exception as error:  # Keras raises bare Exceptions for a failed download.
        message = str(error).splitlines()[0]
        raise UserError(
            f"config.encoder: {config.name} at image_size={config.image_size} with "
            f"weights={config.weights!r} cannot be built: {message}. Without a network, give the "
            f"path of a weights file: --config.encoder.weights=FILE"
        ) from error


def _load_file(path: str) -> keras.Model:
    if not os.path.isfile(path):
        raise UserError(f"config.encoder.name={path}: no such file")
    try:
        return keras.models.load_model(path, compile=False)
    except (ValueError, OSError, TypeError, KeyError) as error:
        message = str(error).splitlines()[0]
        raise UserError(f"config.encoder.name={path} is no Keras model: {message}") from error


def _load_weights(network: keras.Model, config: ml_collections.ConfigDict) -> None:
    if not config.weights:
        return
    if not os.path.isfile(config.weights):
        hint = " (`imcap pretrain` makes it)" if config.name == "custom_cnn" else ""
        raise UserError(f"config.encoder.weights={config.weights}: no such file{hint}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # One for every layer that does not fit.
            network.load_weights(config.weights)
    except (ValueError, OSError, KeyError, zipfile.BadZipFile) as error:
        message = str(error).splitlines()[0]
        raise UserError(
            f"config.encoder.weights={config.weights} does not fit {config.name}: {message}"
        ) from error


def _cut(network: keras.Model, config: ml_collections.ConfigDict) -> keras.Model:
    """Ends the network at the asked layer, and pools its positions if asked."""
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
